//! One thin actor per role. Each feeds its core, makes durable what must be durable, then acts on what comes out.
//!
//! They know each other only as [`actix::Recipient`]s of typed messages ([`message`]) and share no state, so a test can
//! replace any of them by a probe; the Listener alone sees the signs of life of its clients' connections. What a core returns
//! passes an [`outbox`]: nothing that stands behind a write leaves before Persistence has said that the write is durable.

mod accept;
pub mod acceptor;
pub mod board;
pub mod client_connection;
pub mod learner;
pub mod ledger;
pub mod links;
pub mod listener;
pub mod message;
pub mod network;
pub mod outbox;
pub mod peer_link;
pub mod persistence;
#[cfg(test)]
pub(crate) mod probe;
pub mod proposer;
pub mod reconcile;
mod task;

pub use acceptor::AcceptorActor;
pub use board::Board;
pub use learner::LearnerActor;
pub use ledger::LedgerActor;
pub use listener::ListenerActor;
pub use network::TcpNetwork;
pub use peer_link::PeerLinkActor;
pub use persistence::PersistenceActor;
pub use proposer::ProposerActor;
pub use reconcile::ReconcileActor;
