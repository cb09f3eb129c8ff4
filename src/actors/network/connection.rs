//! One connection between two nodes, from its first byte to its last.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error};

use super::openings::{Openings, Place};
use super::{Closed, NetworkTiming, Opened, PEER_FRAME_BYTES_MAX, QUEUE_MAX, Queued, TcpNetwork, Trouble};
use crate::actors::accept::{Seldom, accept};
use crate::actors::links::LinkPort;
use crate::actors::message::{Incoming, Introduce, Introduced};
use crate::codec;
use crate::entropy::Entropy;
use crate::paxos::message::PROTOCOL_VERSION;
use crate::paxos::{Hello, Message, Refused};
use crate::text::brief;
use crate::types::NodeId;
use crate::wire::frame::{READ_BYTES, frame_of};
use crate::wire::{FrameError, read_frame};

/// Longest reason that is sent, or logged of a peer's, in characters.
const REASON_MAX: usize = 400;

/// How long a refused peer has to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a connection is none, or is one no longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("what answers is no peer ({0}); it must be where the peer accepts its peers, not its clients")]
    NoPeer(FrameError),
    #[error("it does not take what is sent to it")]
    Stalled,
    #[error("refused: {0}")]
    Refused(String),
    #[error("it refuses this node: {0}")]
    RefusedByPeer(String),
    #[error("another connection took its place")]
    Replaced,
    #[error("this node stops")]
    Stopping,
}

impl Ended {
    /// It takes somebody's hand to mend it.
    fn serious(&self) -> bool {
        matches!(
            self,
            Self::NoPeer(_)
                | Self::Refused(_)
                | Self::RefusedByPeer(_)
                | Self::Frame(FrameError::Malformed(_) | FrameError::TooLong { .. })
        )
    }
}

/// Dials one peer, as often as it takes.
pub(super) struct Dialler {
    pub(super) network: Addr<TcpNetwork>,
    pub(super) peer: NodeId,
    pub(super) address: String,
    pub(super) port: LinkPort,
    pub(super) timing: NetworkTiming,
    pub(super) entropy: Entropy,
}

impl Dialler {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let ended = self.dial().await.err().unwrap_or(Ended::Replaced);
            if matches!(ended, Ended::Stopping) {
                return;
            }
            // One that was refused soon after it was opened is a failure too.
            failures = if began.elapsed() > self.timing.silence { 0 } else { failures + 1 };
            let delay = self.timing.retry_min.saturating_mul(1 << failures.min(16)).min(self.timing.retry_max);
            let serious = ended.serious();
            let what = brief(&format!("at {}: {ended}; it is dialled again", self.address), REASON_MAX);
            let who = self.peer.to_string();
            self.network.do_send(Trouble { who, what: Some(what), serious, dialled: true });
            sleep(self.entropy.upper_half(delay)).await;
        }
    }

    async fn dial(&self) -> Result<(), Ended> {
        let Self { network, peer, address, port, timing, .. } = self;
        let stream = timeout(timing.connect, TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Ended::Unreachable)?;
        let mut connection = Connection::new(stream, *timing)?;
        let introduction = port.introduce.send(Introduce).await.map_err(|_| Ended::Stopping)?;
        connection.send(&introduction.hello.into()).await?;
        let hello = connection.read_hello().await.map_err(|ended| match ended {
            Ended::Frame(error @ (FrameError::Malformed(_) | FrameError::TooLong { .. })) => Ended::NoPeer(error),
            ended => ended,
        })?;
        let introduction = port.introduced.send(Introduced(hello.clone())).await.map_err(|_| Ended::Stopping)?;
        if let Some(refusal) = introduction.refusal {
            return Err(connection.refuse(refusal.to_string()).await);
        }
        Err(connection.carry(network, *peer, port, hello).await)
    }
}

/// Accepts connections of peers, until it is dropped.
pub(super) async fn serve(
    network: Addr<TcpNetwork>,
    listener: TcpListener,
    ports: BTreeMap<NodeId, LinkPort>,
    timing: NetworkTiming,
) {
    let ports = Rc::new(ports);
    let openings = Openings::default();
    let mut lines = Seldom::default();
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let (stream, from) = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, "peer", &mut lines) => accepted,
        };
        number += 1;
        let (network, ports, place) = (network.clone(), ports.clone(), openings.place(number));
        let task = connections.spawn_local(async move {
            let (who, ended) = answer(stream, from, &network, &ports, timing, place).await;
            let what = Some(brief(&ended.to_string(), REASON_MAX));
            network.do_send(Trouble { who, what, serious: ended.serious(), dialled: false });
        });
        if openings.enter(number, from.ip(), task) {
            debug!(%from, "of the connections in their opening, an older one gives way");
        }
    }
}

/// Serves one connection that somebody made, and returns who it was, and why it ended.
async fn answer(
    stream: TcpStream,
    from: SocketAddr,
    network: &Addr<TcpNetwork>,
    ports: &BTreeMap<NodeId, LinkPort>,
    timing: NetworkTiming,
    opening: Place,
) -> (String, Ended) {
    // The port differs with each attempt of the same stranger.
    let mut who = from.ip().to_string();
    let served = async {
        let mut connection = Connection::new(stream, timing)?;
        let hello = connection.read_hello().await?;
        let peer = hello.node;
        let Some(port) = ports.get(&peer) else {
            return Ok(connection.refuse(format!("{peer} is no peer of this node; compare the lists of nodes")).await);
        };
        who = peer.to_string();
        let introduction = port.introduced.send(Introduced(hello.clone())).await.map_err(|_| Ended::Stopping)?;
        connection.send(&introduction.hello.into()).await?;
        if let Some(refusal) = introduction.refusal {
            return Ok(connection.refuse(refusal.to_string()).await);
        }
        drop(opening);
        Ok(connection.carry(network, peer, port, hello).await)
    };
    let ended = served.await.unwrap_or_else(|ended: Ended| ended);
    (who, ended)
}

struct Connection {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    timing: NetworkTiming,
}

impl Connection {
    fn new(stream: TcpStream, timing: NetworkTiming) -> Result<Self, Ended> {
        // Frames are whole messages, and somebody waits for each.
        stream.set_nodelay(true).map_err(FrameError::Io)?;
        let (from, to) = stream.into_split();
        Ok(Self { from: BufReader::with_capacity(READ_BYTES, from), to, timing })
    }

    async fn send(&mut self, message: &Message) -> Result<(), Ended> {
        write(&mut self.to, message, self.timing.frame).await
    }

    /// The other side's HELLO, which comes first or not at all.
    async fn read_hello(&mut self) -> Result<Hello, Ended> {
        let frame = read_frame(&mut self.from, &self.timing.hello_limits()).await?;
        let refusal = match codec::decode(&frame) {
            Ok(Message::Hello(hello)) => return Ok(*hello),
            Ok(Message::Refused(Refused { reason })) => return Err(Ended::RefusedByPeer(brief(&reason, REASON_MAX))),
            Ok(other) => format!("the first message is {}, not HELLO", other.name()),
            Err(error) => match codec::decode(&frame) {
                Ok(Versioned { hello: Version { version } }) => format!(
                    "it speaks protocol version {version}, this node {PROTOCOL_VERSION}; run the same release on all \
                     nodes"
                ),
                Err(_) => return Err(FrameError::Malformed(error).into()),
            },
        };
        Err(self.refuse(refusal).await)
    }

    /// Tells the other side why, and gives it the time to read that.
    async fn refuse(&mut self, reason: String) -> Ended {
        let refused = Message::Refused(Refused { reason: brief(&reason, REASON_MAX) });
        let farewell = async {
            self.send(&refused).await?;
            self.to.shutdown().await.map_err(FrameError::Io)?;
            // Closing with unread bytes would take back what was sent.
            let mut rest = (&mut self.from).take(PEER_FRAME_BYTES_MAX as u64);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map_err(FrameError::Io)?;
            Ok::<_, Ended>(())
        };
        // It is over either way.
        drop(timeout(FAREWELL, farewell).await);
        Ended::Refused(reason)
    }

    /// Is the link's connection from now on, until it breaks, falls silent, or is replaced.
    async fn carry(self, network: &Addr<TcpNetwork>, peer: NodeId, port: &LinkPort, hello: Hello) -> Ended {
        let Self { from, to, timing } = self;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let opened = Opened { peer, port: port.clone(), hello: Box::new(hello), queue };
        let Ok(number) = network.send(opened).await else { return Ended::Stopping };
        network.do_send(Trouble { who: peer.to_string(), what: None, serious: false, dialled: false });
        let ended = tokio::select! {
            biased;
            ended = receive(from, port, &timing) => ended,
            ended = transmit(to, waiting, &timing) => ended,
        };
        network.do_send(Closed { peer, port: port.clone(), number });
        ended
    }
}

async fn receive(mut from: BufReader<OwnedReadHalf>, port: &LinkPort, timing: &NetworkTiming) -> Ended {
    loop {
        let message = match read_frame(&mut from, &timing.message_limits()).await {
            Ok(frame) => codec::decode::<Message>(&frame),
            Err(error) => return error.into(),
        };
        match message {
            Ok(Message::Refused(Refused { reason })) => return Ended::RefusedByPeer(brief(&reason, REASON_MAX)),
            // Waiting for the link to take it pushes back on the peer.
            Ok(message) => {
                if port.incoming.send(Incoming(message)).await.is_err() {
                    return Ended::Stopping;
                }
            }
            Err(error) => return FrameError::Malformed(error).into(),
        }
    }
}

async fn transmit(mut to: OwnedWriteHalf, mut waiting: mpsc::Receiver<Queued>, timing: &NetworkTiming) -> Ended {
    while let Some(Queued(message, _leave)) = waiting.recv().await {
        if let Err(ended) = write(&mut to, &message, timing.frame).await {
            return ended;
        }
    }
    Ended::Replaced
}

async fn write(to: &mut OwnedWriteHalf, message: &Message, within: Duration) -> Result<(), Ended> {
    let frame = frame_of(message);
    if frame.len() > PEER_FRAME_BYTES_MAX {
        error!(message = message.name(), bytes = frame.len(), "not sent: no peer would take a frame of that length");
        return Ok(());
    }
    timeout(within, to.write_all(&frame)).await.map_err(|_| Ended::Stalled)?.map_err(FrameError::Io)?;
    Ok(())
}

/// What another version's HELLO still has in common with this one's.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "HELLO")]
    hello: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}
