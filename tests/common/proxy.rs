//! A network between a process and a server of a test: it can lose an answer, and hold a request back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What becomes of the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Requests pass; in place of the answer the connection breaks.
    LoseAnswers,
    /// Requests wait until the mode is another.
    HoldRequests,
}

struct State {
    mode: Mode,
    /// So many requests later, this mode.
    later: Option<(usize, Mode)>,
    held: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// In front of a server on this port of the loopback.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Mutex::new(State { mode: Mode::Pass, later: None, held: 0 });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let of_connections = shared.clone();
        // It ends with the test's process, as its connections do.
        spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (requests, answers) = (of_connections.clone(), of_connections.clone());
                spawn(move || pump(client, server, |bytes, to| requests.pass_request(bytes, to)));
                spawn(move || pump(server_too, client_too, |bytes, to| answers.pass_answer(bytes, to)));
            }
        });
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.state.lock().unwrap();
        (state.mode, state.later) = (mode, None);
        self.shared.changed.notify_all();
    }

    /// So many requests pass, then this mode begins.
    pub fn set_after(&self, requests: usize, mode: Mode) {
        self.shared.state.lock().unwrap().later = Some((requests, mode));
    }

    /// Waits until a request is held back.
    pub fn holding(&self) {
        let state = self.shared.state.lock().unwrap();
        drop(self.shared.changed.wait_while(state, |state| state.held == 0).unwrap());
    }
}

impl Shared {
    fn pass_request(&self, bytes: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.later = match state.later.take() {
            Some((0, mode)) => {
                state.mode = mode;
                None
            }
            later => later.map(|(requests, mode)| (requests - 1, mode)),
        };
        if state.mode == Mode::HoldRequests {
            state.held += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |state| state.mode == Mode::HoldRequests).unwrap();
            state.held -= 1;
        }
        drop(state);
        to.write_all(bytes)
    }

    fn pass_answer(&self, bytes: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        match self.state.lock().unwrap().mode {
            Mode::LoseAnswers => Err(std::io::Error::other("lost")),
            Mode::Pass | Mode::HoldRequests => to.write_all(bytes),
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8], &mut TcpStream) -> std::io::Result<()>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(count) if count > 0 && pass(&buffer[..count], &mut to).is_ok() => {}
            _ => break,
        }
    }
    // Both directions end, and whatever was held back in the other one is delivered first.
    drop(from.shutdown(Shutdown::Read));
    drop(to.shutdown(Shutdown::Write));
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(run).unwrap();
}
