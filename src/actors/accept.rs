//! Accepting connections, whatever the system is short of, and logging what strangers do, however much of it they do.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

/// After the system could not accept a connection: it is out of something, and asking at once would not help.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The next connection, of a client or a peer, as `whose` says.
pub(super) async fn accept(listener: &TcpListener, whose: &str, lines: &mut Seldom) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if concerns_one(&error) => debug!(%error, "the connection of a {whose} is gone already"),
            Err(error) => {
                if let Some(unsaid) = lines.admit() {
                    warn!(%error, unsaid, "the connection of a {whose} cannot be accepted; the others go on");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Linux tells of what happened to the connection that it would have handed out. The next one is another.
fn concerns_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
    )
}

/// How many lines may follow each other at once.
const BURST: u32 = 20;

/// Then one more in this time.
const LINE_EACH: Duration = Duration::from_secs(10);

/// How many lines were left out. Where none were, a log says nothing of it.
pub(super) type Unsaid = Option<u64>;

/// Bounds the lines about what strangers can do as often as they like.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    /// How many lines of the burst are used, and until when that was counted.
    used: u32,
    counted: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether a line may be written now: then, how many were not since the last one, if any.
    pub(super) fn admit(&mut self) -> Option<Unsaid> {
        let now = Instant::now();
        let counted = *self.counted.get_or_insert(now);
        let earned = u32::try_from(now.duration_since(counted).as_secs() / LINE_EACH.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.used = self.used.saturating_sub(earned);
            self.counted = Some(now);
        }
        if self.used >= BURST {
            self.unsaid += 1;
            return None;
        }
        self.used += 1;
        let unsaid = std::mem::take(&mut self.unsaid);
        Some((unsaid > 0).then_some(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_come_in_a_burst_and_then_one_by_one_with_how_many_were_left_out() {
        let mut lines = Seldom::default();
        let said: Vec<_> = (0..1_000).filter_map(|_| lines.admit()).collect();
        assert_eq!(said, [None; BURST as usize]);
        tokio::time::advance(LINE_EACH).await;
        assert_eq!((lines.admit(), lines.admit()), (Some(Some(980)), None));
        tokio::time::advance(LINE_EACH * 1_000).await;
        assert_eq!(
            (0..1_000).filter_map(|_| lines.admit()).count(),
            BURST as usize,
            "no more than a burst is saved up"
        );
    }

    #[test]
    fn a_shortage_is_waited_out_and_a_connection_that_is_gone_is_not() {
        // EMFILE, and what Linux says of a connection that was reset before it was accepted.
        assert!(!concerns_one(&io::Error::from_raw_os_error(24)));
        assert!(concerns_one(&ErrorKind::ConnectionAborted.into()));
    }
}
