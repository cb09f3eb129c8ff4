//! A proxy in front of a port: it can cut the way, freeze it, or catch a message in the middle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_banking::wire::frame::{FrameLimits, read_frame};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// What the way does with what is sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Lets it pass.
    Open,
    /// Holds it, as a network does that lost the route: nobody is told.
    Frozen,
    /// Closes every connection, and each new one at once.
    Cut,
    /// Holds what the side that dials sends, and lets the answers pass.
    #[allow(dead_code, reason = "for tests/nemesis")]
    HeldThere,
    /// The other way round.
    #[allow(dead_code, reason = "for tests/nemesis")]
    HeldBack,
    /// Lets it pass so much later.
    #[allow(dead_code, reason = "for tests/nemesis")]
    Slow(Duration),
}

impl Way {
    /// Whether it holds what is sent there, or back.
    fn holds(self, there: bool) -> bool {
        match self {
            Self::Frozen => true,
            Self::HeldThere => there,
            Self::HeldBack => !there,
            Self::Open | Self::Cut | Self::Slow(_) => false,
        }
    }
}

/// A message that is to be caught: half of its frame passes, and then nothing more that way.
struct Trap {
    message: &'static str,
    sprung: oneshot::Sender<()>,
}

struct State {
    target: Mutex<String>,
    way: watch::Sender<Way>,
    trap: Mutex<Option<Trap>>,
    /// How many frames of each kind passed, and the longest of them in bytes.
    passed: Mutex<BTreeMap<String, (usize, usize)>>,
}

/// A proxy with an address that stays, whatever is behind it.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: Mutex::default(),
            way: watch::Sender::new(Way::Open),
            trap: Mutex::default(),
            passed: Mutex::default(),
        });
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, accepting.clone()));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn set_target(&self, target: &str) {
        *self.state.target.lock().unwrap() = target.to_owned();
    }

    pub fn set(&self, way: Way) {
        self.state.way.send_replace(way);
    }

    /// How many messages of that kind passed between nodes, and the longest of them in bytes.
    pub fn passed(&self, message: &str) -> (usize, usize) {
        self.state.passed.lock().unwrap().get(message).copied().unwrap_or_default()
    }

    /// Half of the next message of that kind passes, in either direction; the receiver hears of it.
    pub fn catch(&self, message: &'static str) -> oneshot::Receiver<()> {
        let (sprung, caught) = oneshot::channel();
        *self.state.trap.lock().unwrap() = Some(Trap { message, sprung });
        caught
    }

    /// Nothing is caught any more.
    pub fn release(&self) {
        self.state.trap.lock().unwrap().take();
    }
}

async fn carry(near: TcpStream, state: Arc<State>) {
    let mut way = state.way.subscribe();
    let target = state.target.lock().unwrap().clone();
    if matches!(*way.borrow(), Way::Cut | Way::Frozen) || target.is_empty() {
        return;
    }
    let Ok(far) = TcpStream::connect(&target).await else { return };
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    let ((near_from, near_to), (far_from, far_to)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_from, far_to, &state, true) => {}
        () = pump(far_from, near_to, &state, false) => {}
        _ = way.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, there: bool) {
    let hour = Duration::from_secs(3_600);
    let limits = FrameLimits { bytes_max: 64 << 20, idle: hour, finish: hour };
    let mut way = state.way.subscribe();
    while let Ok(frame) = read_frame(&mut from, &limits).await {
        let Ok(now) = way.wait_for(|way| !way.holds(there)).await.map(|way| *way) else { return };
        if let Way::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(&frame);
        if let Some(trap) = sprung(&frame, state) {
            drop(to.write_all(&bytes[..bytes.len() / 2]).await);
            let _ = trap.sprung.send(());
            return std::future::pending().await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        if let Some(name) = name(&frame) {
            let mut passed = state.passed.lock().unwrap();
            let (count, longest) = passed.entry(name).or_default();
            (*count, *longest) = (*count + 1, frame.len().max(*longest));
        }
    }
}

/// Of a frame between nodes: a map of one pair, whose key is the name of the message.
fn name(frame: &[u8]) -> Option<String> {
    let length = usize::from(frame.get(1)?.checked_sub(0xa0)?);
    let name = frame.get(2..2 + length).filter(|_| frame[0] == 0x81)?;
    String::from_utf8(name.to_vec()).ok()
}

fn sprung(frame: &[u8], state: &State) -> Option<Trap> {
    let mut trap = state.trap.lock().unwrap();
    let wanted = trap.as_ref()?.message;
    if name(frame).is_some_and(|name| name == wanted) { trap.take() } else { None }
}
