//! What the machine alone takes, measured in the same run: nobody who makes each answer durable can be faster.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::Failure;

/// How long each floor is measured, and how often at least.
const MEASURE: Duration = Duration::from_millis(400);
const TIMES_MIN: usize = 20;

/// The floors of one workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floors {
    /// An append of so many bytes to a file, and `fdatasync`; median.
    pub(super) sync: Duration,
    pub(super) sync_bytes: usize,
    /// There and back over loopback, so many bytes out; median. Both ends are tasks of one thread.
    pub(super) round_trip: Duration,
    pub(super) round_trip_bytes: usize,
}

impl Floors {
    pub(super) async fn measure(directory: &Path, sync_bytes: usize, wire_bytes: usize) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::usage(format!("a floor cannot be measured: {error}"));
        Ok(Self {
            sync: sync(directory, sync_bytes).map_err(cannot)?,
            sync_bytes,
            round_trip: round_trip(wire_bytes).await.map_err(cannot)?,
            round_trip_bytes: wire_bytes,
        })
    }
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn sync(directory: &Path, bytes: usize) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(directory)?;
    let content = vec![0x5a; bytes];
    let (began, mut times) = (now(), Vec::new());
    while times.len() < TIMES_MIN || began.elapsed() < MEASURE {
        let start = now();
        file.write_all(&content)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

async fn round_trip(bytes: usize) -> std::io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = TcpStream::connect(listener.local_addr()?).await?;
    let (mut back, _) = listener.accept().await?;
    out.set_nodelay(true)?;
    back.set_nodelay(true)?;
    let content = vec![0x5a; bytes];
    let echo = tokio::task::spawn_local(async move {
        let mut received = vec![0; bytes];
        while back.read_exact(&mut received).await.is_ok() && back.write_all(&[1]).await.is_ok() {}
    });
    let (began, mut times, mut one) = (now(), Vec::new(), [0; 1]);
    while times.len() < TIMES_MIN || began.elapsed() < MEASURE {
        let start = now();
        out.write_all(&content).await?;
        out.read_exact(&mut one).await?;
        times.push(start.elapsed());
    }
    echo.abort();
    Ok(median(times))
}
