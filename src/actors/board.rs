//! The Board: keeps what a node last told of itself, and answers how it is in every state, also after its roles stopped.
//! It waits on no one.

use std::collections::{BTreeMap, BTreeSet};

use actix::{Actor, Context, Handler, Message as ActixMessage, MessageResult, Recipient};
use tokio::sync::oneshot;

use super::message::{Happened, HelloHeard, LinkChanged, NodeEvent};
use crate::effect::HaltReason;
use crate::text::brief;
use crate::types::{Hash, Height, NodeId};
use crate::wire::client::{State, Status};

/// Asks how the node is, as far as the Board knows: log and ballot are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "Status")]
pub struct ReadStatus;

/// Asks to be told once the node has stopped for good; at once where it has.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct WhenHalted(pub oneshot::Sender<HaltReason>);

/// The node stopped for good: the Board to those who serve clients.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct Halted(pub HaltReason);

/// Why a peer cannot be talked to, in words; or, with nothing to say, that it can be again.
#[derive(Clone, Debug, PartialEq, Eq, ActixMessage)]
#[rtype(result = "()")]
pub struct PeerTrouble {
    /// The peer.
    pub peer: NodeId,
    /// What is wrong.
    pub what: Option<String>,
}

/// Longest reason for one peer, and how many peers are named with theirs.
const TROUBLE_MAX: usize = 240;
const NAMED_MAX: usize = 4;

/// Enough for the events of a whole round, many times over.
const MAILBOX: usize = 4_096;

/// The Board of one node.
pub struct Board {
    status: Status,
    heights: BTreeMap<NodeId, Height>,
    /// The peers that have said that they know this node.
    cleared: BTreeSet<NodeId>,
    troubles: BTreeMap<NodeId, String>,
    halted: Option<HaltReason>,
    waiting: Vec<oneshot::Sender<HaltReason>>,
    listener: Option<Recipient<Halted>>,
}

impl Board {
    /// The Board of `node`, one of `nodes`, whose store is called `store` and which serves clients at `client_address`.
    pub fn new(node: NodeId, nodes: &BTreeSet<NodeId>, store: String, client_address: Option<String>) -> Self {
        let mut homes: BTreeMap<_, _> = nodes.iter().map(|node| (*node, None)).collect();
        homes.insert(node, client_address);
        let status = Status {
            node,
            state: State::Baby,
            reason: None,
            height: Height(0),
            tip: Hash::ZERO,
            log: None,
            ballot: None,
            peers_up: BTreeSet::new(),
            store,
            behind: 0,
            homes,
            program: Some(env!("CARGO_PKG_VERSION").to_owned()),
            // Whoever answers over a socket adds it: no role of a node looks at a clock.
            clock_ms: None,
            writes: None,
        };
        Self {
            status,
            heights: BTreeMap::new(),
            cleared: BTreeSet::new(),
            troubles: BTreeMap::new(),
            halted: None,
            waiting: Vec::new(),
            listener: None,
        }
    }

    /// What keeps a node that has not stopped from doing all that its state promises.
    fn trouble(&self) -> Option<String> {
        let Status { state, homes, peers_up, .. } = &self.status;
        match state {
            State::Baby => {
                let rule = "its store is new: it waits until every peer has said that it knows it";
                Some(format!("{rule}{}", self.missing("; missing: ", &self.cleared)))
            }
            State::Zombie | State::Ready if peers_up.len() < homes.len() / 2 => {
                let rule = if *state == State::Zombie {
                    "no majority can be reached, of whom it would hear what it missed: nothing is decided until then"
                } else {
                    "no majority can be reached: nothing is settled, and only what the balance covers is approved"
                };
                Some(format!("{rule}{}", self.missing("; not reached: ", peers_up)))
            }
            _ => None,
        }
    }

    /// The peers that are not among `there`, each with why, behind a heading; nothing where none is missing.
    fn missing(&self, heading: &str, there: &BTreeSet<NodeId>) -> String {
        let Status { node, homes, peers_up, .. } = &self.status;
        let missing: Vec<&NodeId> = homes.keys().filter(|peer| *peer != node && !there.contains(*peer)).collect();
        let why = |peer: &&NodeId| match self.troubles.get(*peer) {
            Some(trouble) => format!("{peer} ({trouble})"),
            None if peers_up.contains(*peer) => format!("{peer} (it is there, and has not said it yet)"),
            // Of two nodes, the one with the smaller name dials.
            None if *peer < node => format!("{peer} (it has to connect to this node, and has not)"),
            None => peer.to_string(),
        };
        let mut told: Vec<String> = missing.iter().take(NAMED_MAX).map(why).collect();
        if missing.len() > NAMED_MAX {
            told.push(format!("{} more", missing.len() - NAMED_MAX));
        }
        if told.is_empty() { String::new() } else { format!("{heading}{}", told.join(", ")) }
    }

    fn take(&mut self, event: Happened) {
        let status = &mut self.status;
        match event {
            Happened::Started { admitted, height, tip } => {
                status.state = if admitted { State::Zombie } else { State::Baby };
                (status.height, status.tip) = (height, tip);
            }
            Happened::Admitted if status.state == State::Baby => status.state = State::Zombie,
            Happened::Ready if status.state != State::Stopped => status.state = State::Ready,
            Happened::Admitted | Happened::Ready | Happened::Voters(_) => {}
            Happened::Link(LinkChanged { peer, up, .. }) => {
                if up {
                    status.peers_up.insert(peer);
                } else {
                    status.peers_up.remove(&peer);
                }
            }
            Happened::Heard(HelloHeard { peer, knows, height, client_address }) => {
                if knows.is_some() {
                    self.cleared.insert(peer);
                }
                let highest = self.heights.entry(peer).or_default();
                *highest = height.max(*highest);
                status.homes.insert(peer, client_address);
            }
            Happened::Applied(block) => (status.height, status.tip) = (block.height(), block.hash()),
            Happened::Halted(reason) => {
                status.state = State::Stopped;
                status.reason = Some(reason.to_string());
                status.peers_up.clear();
                for waiting in self.waiting.drain(..) {
                    drop(waiting.send(reason.clone()));
                }
                if let Some(listener) = &self.listener {
                    listener.do_send(Halted(reason.clone()));
                }
                self.halted = Some(reason);
            }
        }
    }
}

impl Actor for Board {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<NodeEvent> for Board {
    type Result = ();

    fn handle(&mut self, NodeEvent { what, .. }: NodeEvent, _: &mut Context<Self>) {
        self.take(what);
    }
}

impl Handler<PeerTrouble> for Board {
    type Result = ();

    fn handle(&mut self, PeerTrouble { peer, what }: PeerTrouble, _: &mut Context<Self>) {
        match what {
            Some(what) => drop(self.troubles.insert(peer, brief(&what, TROUBLE_MAX))),
            None => drop(self.troubles.remove(&peer)),
        }
    }
}

impl Handler<ReadStatus> for Board {
    type Result = MessageResult<ReadStatus>;

    fn handle(&mut self, _: ReadStatus, _: &mut Context<Self>) -> Self::Result {
        let longest = self.heights.values().max().copied().unwrap_or_default();
        let behind = longest.0.saturating_sub(self.status.height.0);
        let reason = self.status.reason.clone().or_else(|| self.trouble());
        MessageResult(Status { behind, reason, ..self.status.clone() })
    }
}

impl Handler<WhenHalted> for Board {
    type Result = ();

    fn handle(&mut self, WhenHalted(reply_to): WhenHalted, _: &mut Context<Self>) {
        match &self.halted {
            Some(reason) => drop(reply_to.send(reason.clone())),
            None => self.waiting.push(reply_to),
        }
    }
}

/// Whoever serves clients of this node, so that they hear of a halt.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Serve(pub Recipient<Halted>);

impl Handler<Serve> for Board {
    type Result = ();

    fn handle(&mut self, Serve(listener): Serve, _: &mut Context<Self>) {
        if let Some(reason) = &self.halted {
            listener.do_send(Halted(reason.clone()));
        }
        self.listener = Some(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::probe::{chain, genesis, node};
    use crate::types::Incarnation;

    fn board() -> actix::Addr<Board> {
        Board::new(node("A"), genesis().nodes(), "memory".to_owned(), Some("here:1".to_owned())).start()
    }

    fn tell(board: &actix::Addr<Board>, what: Happened) {
        board.do_send(NodeEvent { node: node("A"), what });
    }

    #[actix_rt::test]
    async fn a_node_is_a_baby_a_zombie_ready_and_stopped_for_good() {
        let board = board();
        let started = Happened::Started { admitted: false, height: Height(0), tip: genesis().id() };
        let halted = Happened::Halted(HaltReason::Store("gone".to_owned()));
        let steps = [
            (started, State::Baby),
            (Happened::Admitted, State::Zombie),
            (Happened::Ready, State::Ready),
            (halted, State::Stopped),
            (Happened::Ready, State::Stopped),
        ];
        for (what, state) in steps {
            tell(&board, what);
            assert_eq!(board.send(ReadStatus).await.unwrap().state, state);
        }
        let (reply_to, halted) = oneshot::channel();
        board.do_send(WhenHalted(reply_to));
        assert_eq!(halted.await, Ok(HaltReason::Store("gone".to_owned())), "told to those who come later as well");
        assert_eq!(board.send(ReadStatus).await.unwrap().reason.unwrap(), "the store failed: gone");
    }

    #[actix_rt::test]
    async fn peers_their_addresses_and_the_longest_chain_are_remembered() {
        let board = board();
        let (peer, knows) = (node("B"), Some(Incarnation(1)));
        tell(&board, Happened::Link(LinkChanged { peer, up: true, votes: true }));
        let client_address = Some("there:2".to_owned());
        tell(
            &board,
            Happened::Heard(HelloHeard { peer, knows, height: Height(3), client_address: client_address.clone() }),
        );
        let block = chain(1).remove(0);
        tell(&board, Happened::Applied(block.clone()));
        let status = board.send(ReadStatus).await.unwrap();
        assert_eq!((status.height, status.tip, status.behind), (Height(1), block.hash(), 2));
        assert_eq!(status.peers_up, [peer].into());
        let homes = [(node("A"), Some("here:1".to_owned())), (peer, client_address), (node("C"), None)];
        assert_eq!(status.homes, homes.into());
        tell(&board, Happened::Link(LinkChanged { peer, up: false, votes: false }));
        assert_eq!(board.send(ReadStatus).await.unwrap().peers_up.len(), 0);
    }

    #[actix_rt::test]
    async fn who_waits_for_peers_says_for_whom_and_why_they_are_not_there() {
        let board = board();
        let trouble = |peer: &str, what: Option<&str>| PeerTrouble { peer: node(peer), what: what.map(str::to_owned) };
        tell(&board, Happened::Started { admitted: false, height: Height(0), tip: genesis().id() });
        let reason = async || board.send(ReadStatus).await.unwrap().reason.unwrap_or_default();
        assert!(reason().await.ends_with("; missing: B, C"), "{}", reason().await);
        board.do_send(trouble("B", Some("refused: another bank")));
        board.do_send(trouble("C", Some(&"x".repeat(10_000))));
        let told = reason().await;
        assert!(told.contains("missing: B (refused: another bank), C (xxx") && told.len() < 500, "{told}");
        board.do_send(trouble("C", None));
        let (knows, client_address) = (Some(Incarnation(1)), None);
        let heard = |peer, knows| HelloHeard { peer, knows, height: Height(0), client_address: client_address.clone() };
        tell(&board, Happened::Heard(heard(node("C"), None)));
        assert!(reason().await.ends_with("(refused: another bank), C"), "C was heard, and did not know this node");
        tell(&board, Happened::Heard(heard(node("C"), knows)));
        assert!(reason().await.ends_with("; missing: B (refused: another bank)"), "{}", reason().await);
        tell(&board, Happened::Admitted);
        let told = reason().await;
        assert!(told.contains("no majority") && told.contains("not reached: B (refused: another bank), C"), "{told}");
        tell(&board, Happened::Link(LinkChanged { peer: node("C"), up: true, votes: true }));
        assert_eq!(reason().await, "", "with a majority there is nothing to tell");
    }
}
