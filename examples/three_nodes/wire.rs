//! The messages between the nodes, one line each.

use paxos_banking::actors::message::Outgoing;
use paxos_banking::ledger::{Block, LogOffer};
use paxos_banking::paxos::{Message, NackKind, SentBlock};
use serde_json::{Value, json};

/// A message as it passed: `A > B  PREPARE           ballot 1.A, height 1`.
pub fn message_text(Outgoing { from, to, message, .. }: &Outgoing) -> String {
    format!("{from} > {to}  {:<17} {}", message.name(), contents(message)).trim_end().to_owned()
}

/// The same for programs.
pub fn message_json(outgoing: &Outgoing) -> Value {
    let Outgoing { from, to, message, .. } = outgoing;
    json!({ "from": from, "to": to, "message": message.name(), "contents": contents(message) })
}

fn contents(message: &Message) -> String {
    match message {
        Message::Prepare(prepare) => format!("ballot {}, height {}", prepare.ballot, prepare.height),
        Message::Promise(promise) => {
            let accepted = match &promise.accepted {
                Some(slot) => format!("voted for {} under {}", slot.block.hash().short(), slot.ballot),
                None => "voted for nothing".to_owned(),
            };
            format!("ballot {}, {accepted}, log: {}", promise.ballot, log(&promise.log))
        }
        Message::Accept(accept) => format!("ballot {}, {}", accept.ballot, block(&accept.block)),
        Message::Accepted(accepted) => format!("ballot {}, block {}", accepted.ballot, accepted.hash.short()),
        Message::Commit(commit) => {
            let with = if commit.block.is_some() { ", and the block itself" } else { "" };
            format!("height {}, block {}{with}", commit.height, commit.hash.short())
        }
        Message::Nack(nack) => {
            let kind = match nack.kind {
                NackKind::Outbid { .. } => "outbid",
                NackKind::Behind => "behind",
                NackKind::Ahead => "ahead",
                NackKind::Invalid => "invalid",
            };
            format!("{kind}, own height {}", nack.height)
        }
        Message::Idle(idle) => format!("ballot {}, height {}: nothing to settle", idle.ballot, idle.height),
        Message::EntryFailed(failed) => format!("entry {}: {}", failed.seq, failed.fault),
        Message::ReconcileAck(ack) => {
            let held: Vec<_> = ack.held.iter().map(|(from, to)| format!("{from} to {to}")).collect();
            format!("holds {}, tip {}", held.join(", "), ack.tip.short())
        }
        Message::BlocksRequest(request) => format!("{} to {}", request.from, request.to),
        Message::BlocksResponse(response) => response.blocks.iter().map(sent).collect::<Vec<_>>().join("; "),
        Message::Hello(_) | Message::Refused(_) | Message::ReconcileRequest(_) => String::new(),
    }
}

fn block(block: &Block) -> String {
    format!("block {} {} with {}", block.height(), block.hash().short(), entries_text(block.entry_count()))
}

fn sent(one: &SentBlock) -> String {
    one.block().map_or_else(|error| format!("no block {}: {error}", one.height()), |one| block(&one))
}

/// So many entries.
pub fn entries_text(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn log(offer: &LogOffer) -> String {
    match offer.operations.len() {
        0 => "empty".to_owned(),
        1 => format!("entry {}", offer.first),
        count => format!("{count} entries from {} on", offer.first),
    }
}
