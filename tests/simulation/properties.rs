//! What must hold, one function for each property, named for its rule. These are asked at each message, write, block,
//! answer and view as it comes; what only the whole run can show is in `witness.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use paxos_banking::actors::message::{BankView, Outgoing};
use paxos_banking::effect::HaltReason;
use paxos_banking::ledger::entry::OPERATION_BYTES_MAX;
use paxos_banking::ledger::{Action, Answer, Approval, Block, Reason, Request};
use paxos_banking::paxos::Message;
use paxos_banking::store::record::{self, Horizon, Kind, Peer};
use paxos_banking::store::{Head, Stream};
use paxos_banking::types::{AccountId, Amount, Ballot, Epoch, Hash, Height, Incarnation, NodeId, Seq, TransferId};

use paxos_banking::ledger::{Trace, Verdict};
use paxos_banking::wire::client::{Balance, LogEntry, Status};

use crate::answers::{Answers, content, identity, is_opening};
use crate::chain::{Chain, spendable};
use crate::record::{Collection, Excuse, Reached, Record};

type Held = Result<(), String>;

fn hold(holds: bool, otherwise: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(otherwise()) }
}

// ---- Messages

/// All that a message must keep to when it is put on the wire.
pub fn messages(record: &mut Record, outgoing: &Outgoing) -> Held {
    let reached = record.reached.get(&outgoing.from).cloned().unwrap_or_default();
    r3_durable_before_said(&reached, outgoing)?;
    r3_a_vote_is_durable_before_it_is_said(record, outgoing)?;
    r4_a_promise_tells_the_vote(record, outgoing)?;
    r1_no_vote_above_the_next_height(&reached, outgoing)?;
    r11_babies_do_not_vote(&reached, outgoing)?;
    r11_an_incarnation_is_durable_before_it_is_known(record, outgoing)?;
    r3_promises_never_fall(record, outgoing)?;
    r3_no_ballot_is_used_by_two_processes(record, outgoing)?;
    r6_one_block_per_ballot_and_height(record, outgoing)?;
    r4_a_block_is_bounded_and_shared(record, outgoing)?;
    r6_a_majority_has_answered_this_very_collection(record, outgoing)
}

/// R3, R7: a message says nothing that its sender's disk does not hold.
fn r3_durable_before_said(reached: &Reached, Outgoing { from, message, .. }: &Outgoing) -> Held {
    let ballot = |ballot: Ballot| reached.promise >= Some(ballot);
    let durable = match message {
        Message::Hello(hello) => hello.height <= reached.height && (reached.admitted || !hello.votes),
        Message::Prepare(prepare) => ballot(prepare.ballot),
        Message::Promise(promise) => {
            let log = &promise.log;
            let last = log.first.plus(log.operations.len() as u64).0.saturating_sub(1);
            ballot(promise.ballot) && (log.operations.is_empty() || Seq(last) <= reached.seq)
        }
        Message::Accept(accept) => ballot(accept.ballot),
        Message::Accepted(accepted) => ballot(accepted.ballot),
        Message::Idle(idle) => ballot(idle.ballot),
        Message::Nack(nack) => nack.promised <= reached.promise && nack.height <= reached.height,
        Message::Commit(commit) => commit.height <= reached.height,
        Message::ReconcileAck(ack) => ack.height().unwrap_or_default() <= reached.height,
        Message::BlocksResponse(response) => {
            response.blocks.last().is_none_or(|block| block.height() <= reached.height)
        }
        _ => true,
    };
    hold(durable, || format!("R3, R7: {from} says {message:?}; its disk never held more than {reached:?}"))
}

/// R3: a vote that is said is on the disk, unless a later one, or its block, has taken its place there.
fn r3_a_vote_is_durable_before_it_is_said(record: &Record, Outgoing { from, message, .. }: &Outgoing) -> Held {
    let (ballot, height) = match message {
        Message::Accepted(accepted) => (accepted.ballot, accepted.height),
        Message::Promise(promise) => match &promise.accepted {
            Some(slot) => (slot.ballot, slot.block.height()),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    let Some(head) = record.heads.get(from) else { return Err(format!("R3: {from} votes, and its store is empty")) };
    let held = head.accepted.is_some_and(|held| held.height > height || (held.height, held.ballot) >= (height, ballot));
    hold(head.height >= height || held, || format!("R3: {from} says {message:?}; its disk holds {head:?}"))
}

/// R4: a PROMISE tells of the vote that its sender gave at that height under a lower ballot. (Of a higher one, or of
/// the same, the disk may hold a vote that was given after the PROMISE was made.)
fn r4_a_promise_tells_the_vote(record: &Record, Outgoing { from, message, .. }: &Outgoing) -> Held {
    let Message::Promise(promise) = message else { return Ok(()) };
    let Some(held) = record.heads.get(from).and_then(|head| head.accepted) else { return Ok(()) };
    let due = held.height == promise.height && held.ballot < promise.ballot;
    let told =
        promise.accepted.as_ref().is_some_and(|slot| (slot.ballot, slot.block.hash()) == (held.ballot, held.hash));
    hold(told || !due, || format!("R4: {from} says {message:?}; it has voted for {held:?}"))
}

/// R1: a vote is for the own height + 1. (One that was overtaken by its block in one write is for the own height.)
fn r1_no_vote_above_the_next_height(reached: &Reached, Outgoing { from, message, .. }: &Outgoing) -> Held {
    let height = match message {
        Message::Promise(promise) => promise.height,
        Message::Accepted(accepted) => accepted.height,
        _ => return Ok(()),
    };
    hold(height <= reached.height.next(), || format!("R1: {from} at height {} says {message:?}", reached.height))
}

/// R11: a node whose store does not hold the mark neither promises nor votes.
fn r11_babies_do_not_vote(reached: &Reached, Outgoing { from, message, .. }: &Outgoing) -> Held {
    let votes = matches!(message, Message::Promise(_) | Message::Accepted(_));
    hold(reached.admitted || !votes, || format!("R11: {from} is a baby and says {message:?}"))
}

/// R3: what a process says of its promise to a peer never falls, nor below what an earlier process of its node said to
/// anybody. (What one process says to different peers may overtake each other on the way out.)
fn r3_promises_never_fall(record: &mut Record, Outgoing { from, epoch, to, message }: &Outgoing) -> Held {
    let told = match message {
        Message::Promise(promise) => promise.ballot,
        Message::Accepted(accepted) => accepted.ballot,
        _ => return Ok(()),
    };
    let of_node =
        record.told_promises.range((*from, Epoch { number: 0, token: 0 })..).take_while(|((node, _), _)| node == from);
    let earlier = of_node.filter(|((_, of), _)| of.number < epoch.number).flat_map(|(_, told)| told.values());
    let by_earlier = earlier.max().copied();
    let by_this = record.told_promises.entry((*from, *epoch)).or_default();
    let before = by_earlier.max(by_this.get(to).copied());
    by_this.insert(*to, before.max(Some(told)).unwrap_or(told));
    hold(before <= Some(told), || format!("R3: {from} had promised {before:?} and says {message:?}"))
}

/// R3: after a restart a proposer never uses a ballot that it used before.
fn r3_no_ballot_is_used_by_two_processes(record: &mut Record, Outgoing { epoch, message, .. }: &Outgoing) -> Held {
    let ballot = match message {
        Message::Prepare(prepare) => prepare.ballot,
        Message::Accept(accept) => accept.ballot,
        _ => return Ok(()),
    };
    let first = *record.ballots.entry(ballot).or_insert(*epoch);
    hold(first == *epoch, || format!("R3: {message:?} uses a ballot of the process with {first:?} again"))
}

/// R6: under one ballot at most one block is proposed for a height, ever.
fn r6_one_block_per_ballot_and_height(record: &mut Record, Outgoing { message, .. }: &Outgoing) -> Held {
    let Message::Accept(accept) = message else { return Ok(()) };
    let (height, hash) = (accept.block.height(), accept.block.hash());
    let first = *record.first_proposed.entry(hash).or_insert(accept.ballot);
    if first.node != accept.ballot.node {
        record.counts.add("blocks adopted from another proposer");
    }
    let known = *record.proposals.entry((accept.ballot, height)).or_insert(hash);
    hold(known == hash, || format!("R6: two blocks for {}, height {height}: {known} and {hash}", accept.ballot))
}

/// R6: a block is proposed, and IDLE is said, once a majority has answered the last collection; whoever answered one
/// before it does not count.
fn r6_a_majority_has_answered_this_very_collection(record: &mut Record, outgoing: &Outgoing) -> Held {
    let Outgoing { from, epoch, message, .. } = outgoing;
    let over = match message {
        Message::Prepare(prepare) => {
            let asked = (prepare.ballot, prepare.height, prepare.collection);
            if record.collections.get(&(*from, *epoch)).is_none_or(|collection| collection.asked != asked) {
                let promised = BTreeSet::new();
                record.collections.insert((*from, *epoch), Collection { asked, promised });
            }
            return Ok(());
        }
        Message::Accept(accept) => (accept.ballot, accept.block.height()),
        Message::Idle(idle) => (idle.ballot, idle.height),
        _ => return Ok(()),
    };
    let collection = record.collections.get(&(*from, *epoch));
    let Some(collection) = collection.filter(|last| (last.asked.0, last.asked.1) == over) else { return Ok(()) };
    hold(collection.promised.len() + 1 >= record.genesis.majority(), || {
        format!("R6: {from} says {message:?}; its last collection was answered by {:?} only", collection.promised)
    })
}

/// R4: a block is bounded, and each origin in it has its equal share of the bound, as far as it offered so much.
fn r4_a_block_is_bounded_and_shared(record: &mut Record, outgoing: &Outgoing) -> Held {
    let Outgoing { from, to, message, .. } = outgoing;
    let (ballot, block) = match message {
        Message::Promise(promise) => {
            // Later collections under the same ballot are offered more, never less.
            let offer = (promise.log.first, promise.log.operations.len() as u64);
            record.offers.entry((promise.ballot, promise.height, *from)).or_insert(offer);
            record.voted_for.extend(promise.accepted.as_ref().map(|slot| slot.block.hash()));
            return Ok(());
        }
        Message::Accept(accept) => (accept.ballot, &accept.block),
        _ => return Ok(()),
    };
    // One that is finished, of another proposer's or of an earlier process of this one, is as it was.
    let own_vote = record.heads.get(from).and_then(|head| head.accepted).map(|vote| vote.hash);
    let hash = block.hash();
    if record.first_proposed.contains_key(&hash) || record.voted_for.contains(&hash) || own_vote == Some(hash) {
        return Ok(());
    }
    let nodes = record.genesis.nodes().len();
    let capacity = (record.limits.block_bytes_max / OPERATION_BYTES_MAX).max(nodes);
    hold(block.entry_count() <= capacity, || format!("R4: {from} proposes to {to} more than {capacity}: {block:?}"))?;
    for run in block.runs() {
        let Some((first, count)) = record.offers.get(&(ballot, block.height(), run.origin)) else { continue };
        let offered = (first.0 + count).saturating_sub(run.first.0);
        let due = offered.min((capacity / nodes) as u64);
        hold(run.operations.len() as u64 >= due, || {
            format!("R4: {} offered {offered} entries, {due} are its share; {from} proposes {block:?}", run.origin)
        })?;
    }
    Ok(())
}

/// R11: an incarnation is durable before its link is used, and before its node hears that it is known.
fn r11_an_incarnation_is_durable_before_it_is_known(
    record: &Record,
    Outgoing { from, to, message, .. }: &Outgoing,
) -> Held {
    let Message::Hello(hello) = message else { return Ok(()) };
    let Some(said) = hello.known.incarnation else { return Ok(()) };
    let known = known_incarnation(record, *from, *to);
    hold(known == Some(said) || record.damaged.contains(from), || {
        format!("R11: {from} tells {to} that it knows it as {said}; its disk says {known:?}")
    })
}

/// What a node's disk says of a peer.
pub fn known_incarnation(record: &Record, node: NodeId, peer: NodeId) -> Option<Incarnation> {
    let name = format!("{}{peer}", paxos_banking::store::field::PEER);
    let bytes = record.disks[&node].durable_field(&name)?;
    record::decode::<Peer>(&name, Kind::Peer, &bytes).ok().map(|peer| peer.incarnation)
}

// ---- Writes

/// All that a write must keep to once it is durable. `head` says what the store holds after it.
pub fn writes(record: &Record, node: NodeId, head: &Head) -> Held {
    r3_a_disk_never_goes_back(record.heads.get(&node), node, head)?;
    r10_an_opened_account_inherits_the_horizon(record, node, head)?;
    r11_all_peers_know_who_is_admitted(record, node, head)?;
    r11_a_lost_store_is_not_replaced(record, node, head)
}

/// R3, R5, R7: promise, height and seq never fall, and every write is the next.
fn r3_a_disk_never_goes_back(before: Option<&Head>, node: NodeId, head: &Head) -> Held {
    let Some(before) = before else { return Ok(()) };
    let ascends = head.promise >= before.promise
        && head.height >= before.height
        && head.log_last >= before.log_last
        && head.log_first >= before.log_first
        && head.horizons >= before.horizons
        && (head.admitted || !before.admitted);
    hold(ascends, || format!("R3: the store of {node} held {before:?}, then {head:?}"))
}

/// R10: an account whose opening is settled has, in the same write, the horizon that those share which do not exist.
fn r10_an_opened_account_inherits_the_horizon(record: &Record, node: NodeId, head: &Head) -> Held {
    let before = record.heads.get(&node).map_or(Height(0), |before| before.height);
    let shared = record.shared_horizons.get(&node).copied();
    let blocks = (before.0 + 1..=head.height.0).filter_map(|height| record.chain.block(Height(height)));
    for operation in blocks.flat_map(|block| block.runs()).flat_map(|run| &run.operations) {
        let Action::Open { account } = operation.action else { continue };
        let own = durable_horizon(record, node, Some(account));
        // What an older copy shares, it shared then.
        let exempt = account.home() != node || record.gone_back.contains(&node);
        hold(exempt || own >= shared, || {
            format!("R10: {account} is open at {head:?}, with the horizon {own:?}; those of no account have {shared:?}")
        })?;
    }
    Ok(())
}

/// A horizon that a node's disk holds.
pub fn durable_horizon(record: &Record, node: NodeId, owner: Option<AccountId>) -> Option<TransferId> {
    let name = paxos_banking::store::field::HORIZON;
    let name = owner.map_or_else(|| name.to_owned(), |account| format!("{name}{account}"));
    let bytes = record.disks[&node].durable_field(&name)?;
    record::decode::<Horizon>(&name, Kind::Horizon, &bytes).ok().map(|horizon| horizon.id)
}

/// R11: a node is admitted once every peer knows, durably, this very incarnation of it.
fn r11_all_peers_know_who_is_admitted(record: &Record, node: NodeId, head: &Head) -> Held {
    if !head.admitted || record.heads.get(&node).is_some_and(|before| before.admitted) {
        return Ok(());
    }
    let Some(own) = incarnation(record, node) else { return Err(format!("R11: {node} has no identity")) };
    for peer in record.genesis.nodes().iter().filter(|peer| **peer != node) {
        let known = known_incarnation(record, *peer, node);
        hold(known == Some(own), || format!("R11: {node} is admitted as {own}; {peer} knows {known:?}"))?;
    }
    Ok(())
}

/// R11: a node that was admitted, and lost its store, is not admitted again while anybody is left who knew it.
fn r11_a_lost_store_is_not_replaced(record: &Record, node: NodeId, head: &Head) -> Held {
    let somebody_knows = record.genesis.nodes().iter().any(|peer| !record.emptied.contains(peer));
    hold(!head.admitted || !record.destroyed.contains(&node) || !somebody_knows, || {
        format!("R11: {node} had lost its store, and is admitted with a new one")
    })
}

fn incarnation(record: &Record, node: NodeId) -> Option<Incarnation> {
    let name = paxos_banking::store::field::IDENTITY;
    let bytes = record.disks[&node].durable_field(name)?;
    let identity: record::Identity = record::decode(name, Kind::Identity, &bytes).ok()?;
    Some(identity.incarnation)
}

/// R13: only the process that took the store last writes to it.
pub fn r13_only_the_owner_writes(node: NodeId, process: u32, owner: u32) -> Held {
    hold(process == owner, || format!("R13: process {process} of {node} wrote to the store that {owner} has taken"))
}

/// R13: damage that a start meets is named.
pub fn r13_damage_is_named(node: NodeId, key: &str, found: Option<&str>) -> Held {
    let named = found.is_some_and(|error| error.contains(key));
    hold(named, || format!("R13: {key} in the store of {node} is damaged; its start says {found:?}"))
}

/// R13: a node stops that a peer tells of more than its store holds.
pub fn r13_a_store_that_went_back_is_noticed(node: NodeId, witnessed: bool, stopped: bool) -> Held {
    hold(stopped || !witnessed, || format!("R13: the store of {node} went back, a peer told it so, and it goes on"))
}

/// R13: a process stops for good where it must, and nowhere else.
pub fn r13_only_who_must_stops(node: NodeId, excuses: &BTreeSet<Excuse>, reason: &HaltReason) -> Held {
    let fits = excuses.iter().any(|excuse| {
        matches!(
            (excuse, reason),
            (Excuse::Replaced | Excuse::Damaged, HaltReason::Store(_))
                | (Excuse::LostDisk, HaltReason::LostDisk { .. } | HaltReason::WentBack { .. })
                // To the older of two processes it looks the same: others know of what the newer one did.
                | (Excuse::WentBack | Excuse::Replaced, HaltReason::WentBack { .. } | HaltReason::ForeignOwnEntry(_))
        )
    });
    hold(fits, || format!("R5, R13: {node} stopped, though nothing was done to it but {excuses:?}: {reason}"))
}

/// R13: what a start finds is the chain that all agree on.
pub fn r13_a_start_finds_the_chain(chain: &Chain, node: NodeId, height: Height, tip: Hash) -> Held {
    let agrees = chain.at(height).is_none_or(|bank| bank.tip() == tip);
    hold(agrees, || format!("R13: {node} starts at height {height} with {tip}, which is not the chain's"))
}

// ---- Blocks

/// All that a block must keep to when a node has applied it.
pub fn blocks(record: &mut Record, node: NodeId, before: Height, block: &Arc<Block>) -> Held {
    r5_in_order_of_heights(node, before, block)?;
    let reached = record.reached.get(&node).map(|reached| reached.height);
    hold(reached >= Some(block.height()), || format!("R3: {node} tells of {block:?} before it is durable"))?;
    r1_r6_one_block_per_height(&mut record.chain, node, block)?;
    r12_money_is_conserved(record)
}

/// R5: each node applies every height once, in order.
fn r5_in_order_of_heights(node: NodeId, before: Height, block: &Block) -> Held {
    hold(block.height() == before.next(), || format!("R5: {node} applied {} after {before}", block.height()))
}

/// Whoever applies a block first does so once a majority has voted for it, durably, under one ballot.
pub fn a_block_is_applied_once_a_majority_has_chosen_it(record: &Record, node: NodeId, block: &Arc<Block>) -> Held {
    let votes = record.votes.get(&(block.height(), block.hash()));
    let majority = record.genesis.majority();
    let chosen = votes.is_some_and(|votes| votes.values().any(|voters| voters.len() >= majority));
    hold(chosen, || format!("R3, R6: {node} has applied {block:?}, which has no majority under one ballot: {votes:?}"))
}

/// R1, R5, R6: no two nodes apply different blocks at one height, and each block follows on the chain.
pub fn r1_r6_one_block_per_height(chain: &mut Chain, node: NodeId, block: &Arc<Block>) -> Held {
    match chain.block(block.height()) {
        Some(known) => hold(known.hash() == block.hash(), || {
            format!("R1, R6: {node} applied {block:?} where another node has {known:?}")
        }),
        None => chain.append(block).map_err(|fault| format!("R5: {node} applied {block:?}: {fault}")),
    }
}

/// R12: the settled balances add up to what the bank began with. (That none is below zero, their type says.)
pub fn r12_money_is_conserved(record: &Record) -> Held {
    let balances = record.chain.tip().balances().values();
    let sum = balances.copied().try_fold(Amount::ZERO, Amount::checked_add);
    hold(sum == Some(record.genesis.total()), || format!("R12: the balances add up to {sum:?}"))
}

// ---- Views

/// All that a node's view of the bank must keep to.
pub fn views(record: &Record, node: NodeId, view: &BankView) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let last = Seq(view.log.last().map_or(0, |entry| entry.seq.0));
    hold(view.height <= reached.height && last <= reached.seq, || {
        format!("R3: {node} shows height {}, seq {last}; its disk holds {reached:?}", view.height)
    })?;
    bounds_are_kept(record, node, view)?;
    let Some(bank) = record.chain.at(view.height) else { return Ok(()) };
    r5_equal_heights_have_equal_states(node, view, bank)?;
    r7_a_log_is_contiguous(node, view, bank)?;
    r12_no_overdraft_at_home(node, view, bank)
}

/// R5: whoever is at a height has the same block there, and the same state.
fn r5_equal_heights_have_equal_states(node: NodeId, view: &BankView, bank: &paxos_banking::ledger::Bank) -> Held {
    let equal = view.tip == bank.tip() && view.state == bank.state() && view.settled == *bank.balances();
    hold(equal, || format!("R5: {node} at height {} differs from the others there", view.height))
}

/// R7: a log begins at the watermark + 1 and has no gap.
fn r7_a_log_is_contiguous(node: NodeId, view: &BankView, bank: &paxos_banking::ledger::Bank) -> Held {
    let first = bank.watermark(node).next();
    let in_order = view.log.iter().zip(first.0..).all(|(entry, seq)| entry.seq == Seq(seq) && entry.origin == node);
    hold(in_order, || format!("R7: the log of {node} does not go on at {first}: {:?}", view.log))
}

/// R12: what can be spent at home is what is settled, less own debits, plus credits from the same home; never below
/// zero, and nothing that is not settled yet from elsewhere.
fn r12_no_overdraft_at_home(node: NodeId, view: &BankView, bank: &paxos_banking::ledger::Bank) -> Held {
    for (account, shown) in &view.spendable {
        let computed = spendable(bank, *account, view.log.iter());
        hold(computed == Some(*shown), || {
            format!("R12: {account} can spend {shown} at {node}, of {computed:?} by chain and log at {}", view.height)
        })?;
    }
    Ok(())
}

/// Everything that a node keeps is within its bounds.
fn bounds_are_kept(record: &Record, node: NodeId, view: &BankView) -> Held {
    let limits = &record.limits;
    let ids_max = limits.ids_remembered_max.max(16) + limits.log_entries_max;
    let within =
        view.log.len() <= limits.log_entries_max && view.waiting <= limits.waiting_max && view.remembered <= ids_max;
    hold(within, || {
        let (log, waiting, remembered) = (view.log.len(), view.waiting, view.remembered);
        format!("bounds: {node} has a log of {log}, {waiting} waiting, {remembered} ids remembered; {limits:?}")
    })
}

/// What a node keeps on its disk is bounded as what it keeps in memory is: records of refusals that are still needed
/// keep no long tail of others.
pub fn stores_are_bounded(record: &Record, node: NodeId) -> Held {
    let image = record.disks[&node].durable();
    let count = |stream| image.streams.get(&stream).map_or(0, |records| records.len());
    let (log, refused) = (count(Stream::Log), count(Stream::Refused));
    let limits = &record.limits;
    let within = log <= limits.log_entries_max && refused <= 64.max(2 * limits.ids_remembered_max) + 1;
    hold(within, || format!("bounds: the store of {node} holds {log} records of its log, {refused} of refusals"))
}

// ---- Answers

/// All that an answer must keep to when it comes.
pub fn answers(record: &mut Record, number: u64, answer: &Answer) -> Held {
    let request = record.answers.request(number);
    record.counts.answer(answer);
    let reached = record.reached.get(&request.from.home()).cloned().unwrap_or_default();
    r11_babies_decide_nothing(&reached, &request, answer)?;
    let returned = record.answers.tick();
    r10_what_is_approved_is_told_as_that(record, (number, returned), answer)?;
    match answer {
        Answer::Approved(approval) => r10_what_is_settled_is_told_as_that(record, number, approval)?,
        Answer::Refused(reason) => refusals_by_form_are_right(&request, reason)?,
        Answer::Conflict => {
            r10_a_conflict_has_another_content(&record.answers, &request)?;
            record.answers.stories.entry(identity(&request)).or_default().conflicts.push(content(&request));
        }
        Answer::Expired => {
            r10_a_horizon_is_durable(record, &request)?;
            r10_only_old_ids_expire(record, &request)?;
            let now = record.answers.tick();
            let story = record.answers.stories.entry(identity(&request)).or_default();
            story.expired.get_or_insert((now, story.asked.len()));
        }
        Answer::Busy | Answer::NotReady => {
            record.answers.stories.entry(identity(&request)).or_default().turned_away += 1;
        }
        Answer::Pending => {
            let Some(last) = record.answers.stopped.get(&number).copied() else {
                return Err(format!("R10: {request:?} is told as pending, though its client waits"));
            };
            record.answers.stories.entry(identity(&request)).or_default().pending.get_or_insert(last);
        }
    }
    if Answers::outcome(answer).is_some() {
        r10_what_expired_stays_expired(record, &request, returned)?;
    }
    traces(record, &request, answer)
}

/// R10: what a home says of an outcome, in an answer or asked for it later, is always the same.
pub fn traces(record: &mut Record, request: &Request, answer: &Answer) -> Held {
    let Some(outcome) = Answers::outcome(answer) else { return Ok(()) };
    if let Answer::Approved(approval) = answer {
        let reached = record.reached.get(&request.from.home()).cloned().unwrap_or_default();
        hold(approval.seq <= reached.seq, || format!("R7: {request:?} is {approval:?}; durable is {reached:?}"))?;
        hold(approval.height <= Some(reached.height), || format!("R3: {approval:?}; durable is {reached:?}"))?;
        r10_an_approval_is_what_the_chain_holds(record, request, approval)?;
    }
    let home = request.from.home();
    let known = record.answers.decided(request, outcome);
    // A store that was lost takes what was decided with it.
    match known {
        Ok(again) => {
            if again {
                record.counts.add("answers repeated");
            }
            Ok(())
        }
        Err(_) if record.destroyed.contains(&home) => Ok(()),
        Err(what) => Err(what),
    }
}

/// R11: a baby decides nothing.
fn r11_babies_decide_nothing(reached: &Reached, request: &Request, answer: &Answer) -> Held {
    let decides = Answers::outcome(answer).is_some() || matches!(answer, Answer::Conflict | Answer::Expired);
    hold(reached.admitted || !decides, || format!("R11: a baby says {answer:?} to {request:?}"))
}

/// R10: who asks again for what was approved is not told that it is undecided, nor, while it is in the local log, that
/// it is forgotten. (Of two processes the older one does not know what the newer one approved.)
fn r10_what_is_approved_is_told_as_that(record: &Record, (number, returned): (u64, u64), answer: &Answer) -> Held {
    let request = record.answers.request(number);
    let home = request.from.home();
    let called = record.answers.called(number);
    let Some(entry) = record.answers.heard_approved(&request, called) else { return Ok(()) };
    let lost = record.destroyed.contains(&home) || record.damaged.contains(&home);
    let exempt = lost || record.was_doubled(home, called, returned);
    let undecided = match answer {
        Answer::Busy | Answer::Pending => true,
        Answer::Expired => record.chain.entry(entry.0, entry.1).is_none(),
        _ => false,
    };
    hold(exempt || !undecided, || format!("R10: {request:?} was approved as {entry:?}, and is {answer:?} now"))
}

/// R10: who asks again for what was told as settled is told so again, and by which block.
fn r10_what_is_settled_is_told_as_that(record: &mut Record, number: u64, approval: &Approval) -> Held {
    let (request, called) = (record.answers.request(number), record.answers.called(number));
    let now = record.answers.tick();
    let exempt = record.was_doubled(request.from.home(), called, now);
    let story = record.answers.stories.entry(identity(&request)).or_default();
    if approval.height.is_some() {
        story.settled.get_or_insert(now);
        return Ok(());
    }
    hold(exempt || story.settled.is_none_or(|heard| heard > called), || {
        format!("R10: {request:?} was told as settled; now it is {approval:?}")
    })
}

/// R10: an approval names the entry that the chain holds, and, where it names a block, the one that holds it.
fn r10_an_approval_is_what_the_chain_holds(record: &Record, request: &Request, approval: &Approval) -> Held {
    let Approval { origin, seq, height } = *approval;
    match record.chain.entry(origin, seq) {
        Some((at, entry)) => {
            let (from, to, amount) = entry.operation.parts();
            let same = (entry.operation.id, from, to, amount) == (request.id, request.from, request.to, request.amount);
            hold((same || record.destroyed.contains(&origin)) && height.is_none_or(|height| height == *at), || {
                format!("R10: {request:?} is {approval:?}; the chain holds {entry:?} there, at height {at}")
            })
        }
        None => hold(height.is_none_or(|height| height > record.chain.height()), || {
            format!("R10: {request:?} is {approval:?}; the chain holds no such entry")
        }),
    }
}

/// Refusals by form are those of the request's form.
fn refusals_by_form_are_right(request: &Request, reason: &Reason) -> Held {
    let right = match reason {
        Reason::NotHome { home } => *home == request.from.home(),
        Reason::AmountZero => request.amount == Amount::ZERO,
        Reason::SameAccount => request.from == request.to && !is_opening(request),
        _ => true,
    };
    hold(right, || format!("{request:?} is refused as {reason:?}"))
}

/// R10: a conflict needs an earlier request with the same identity and another content.
fn r10_a_conflict_has_another_content(answers: &Answers, request: &Request) -> Held {
    let asked = answers.stories.get(&identity(request)).map_or(&[][..], |story| &story.asked);
    let other = asked.iter().any(|(_, with)| *with != content(request));
    hold(other, || format!("R10: {request:?} is a conflict, but nobody used its id for anything else"))
}

/// R10: a horizon is durable before `expired` is answered.
fn r10_a_horizon_is_durable(record: &Record, request: &Request) -> Held {
    let home = request.from.home();
    let horizon = |owner| durable_horizon(record, home, owner);
    let durable = horizon(Some(request.from)).max(horizon(None));
    let exempt = record.destroyed.contains(&home) || record.damaged.contains(&home);
    hold(exempt || durable >= Some(request.id), || {
        format!("R10: {request:?} has expired; the durable horizon is {durable:?}")
    })
}

/// R10: only what is not newer than something that its account was asked for can be older than the account's horizon.
/// Accounts that do not exist share one, which those inherit that are opened.
fn r10_only_old_ids_expire(record: &Record, request: &Request) -> Held {
    let home = request.from.home();
    let born = record.genesis.opening().contains_key(&request.from);
    let newer = |(account, largest): (&AccountId, &TransferId)| {
        let shared = !born && account.home() == home && !record.genesis.opening().contains_key(account);
        (*account == request.from || shared) && *largest > request.id
    };
    let again = record.answers.stories.get(&identity(request)).is_some_and(|story| story.asked.len() > 1);
    hold(again || record.answers.largest_asked.iter().any(newer), || {
        format!("R10: {request:?} has expired, though nothing newer was ever asked of its account")
    })
}

/// R10: an id at or below the horizon is never executed, nor remembered again.
fn r10_what_expired_stays_expired(record: &Record, request: &Request, now: u64) -> Held {
    let home = request.from.home();
    let story = record.answers.stories.get(&identity(request));
    let expired = story.is_some_and(|story| story.expired.is_some());
    // Of two processes the older one may still tell what the newer one has forgotten.
    let exempt = record.was_doubled(home, now, now) || record.destroyed.contains(&home);
    hold(!expired || exempt, || format!("R10: {request:?} had expired, and is decided now"))
}

/// R3: what a node told of its height, it never tells less of.
pub fn r3_heights_never_go_back(node: NodeId, floor: Height, height: Height) -> Held {
    hold(height >= floor, || format!("R3: {node} told of height {floor}, and then of {height}"))
}

/// R3: a balance is told at a height that is durable.
pub fn r3_a_balance_is_durable(record: &Record, node: NodeId, balance: &Balance) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    hold(balance.height <= reached.height || record.destroyed.contains(&node), || {
        format!("R3: {node} tells {balance:?}; its disk never held more than {reached:?}")
    })
}

/// R3: what a node tells of itself is durable, and the chain's.
pub fn r3_a_status_tells_what_is_durable(record: &Record, node: NodeId, status: &Status) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let durable = status.height <= reached.height && status.ballot <= reached.promise;
    let of_chain = record.chain.at(status.height).is_none_or(|bank| bank.tip() == status.tip);
    hold((durable || record.destroyed.contains(&node)) && of_chain, || {
        format!("R3: {node} is as {status:?}; its disk never held more than {reached:?}")
    })
}

/// R3, R5: the blocks that a node shows are the chain's, from the first one on that was asked for.
pub fn r5_blocks_shown_are_the_chain(record: &Record, node: NodeId, from: Height, blocks: &[Arc<Block>]) -> Held {
    for (block, height) in blocks.iter().zip(from.0..) {
        let known = record.chain.block(Height(height)).map(|block| block.hash());
        hold(known == Some(block.hash()), || format!("R5: {node} shows {block:?} at {height}, of {known:?}"))?;
    }
    Ok(())
}

/// R3, R7: the log that a home shows is durable, in order, and what the chain holds of it.
pub fn r7_entries_shown_are_the_log(record: &Record, node: NodeId, from: Seq, log: &[LogEntry]) -> Held {
    let reached = record.reached.get(&node).cloned().unwrap_or_default();
    let first = log.first().map_or(from, |entry| entry.0);
    for (entry, seq) in log.iter().zip(first.0..) {
        let settled = record.chain.entry(node, entry.0);
        let same = settled.is_none_or(|(_, known)| known.operation == entry.1);
        let exempt = record.destroyed.contains(&node);
        hold(exempt || (entry.0 == Seq(seq) && first >= from && entry.0 <= reached.seq && same), || {
            format!("R3, R7: {node} shows {entry:?} from {from} on; its disk holds {reached:?}, the chain {settled:?}")
        })?;
    }
    Ok(())
}

/// R10: the home finds what a client heard that it approved.
pub fn r10_what_was_approved_is_found(
    record: &Record,
    request: &Request,
    (called, returned): (u64, u64),
    found: &[Trace],
) -> Held {
    let home = request.from.home();
    let exempt = record.was_doubled(home, called, returned) || record.destroyed.contains(&home);
    let approved = |trace: &Trace| trace.from == request.from && matches!(trace.verdict, Verdict::Approved(_));
    let due = !exempt && record.answers.heard_approved(request, called).is_some();
    hold(!due || found.iter().any(approved), || format!("R10: {request:?} was approved; its home finds {found:?}"))
}

/// A client that has seen a height is never shown an older one.
pub fn no_client_sees_history_go_back(seen: Height, height: Height) -> Held {
    hold(height >= seen, || format!("a client that had seen height {seen} was shown {height}"))
}

/// R10: a transfer that is in the chain was asked for, as it is there.
pub fn r10_what_is_settled_was_asked_for(record: &Record) -> Held {
    for (_, entry) in record.chain.entries() {
        let (from, to, amount) = match entry.operation.action {
            Action::Transfer { from, to, amount } => (from, to, amount),
            Action::Open { account } => (account, account, Amount::ZERO),
        };
        let asked = record.answers.stories.get(&(from, entry.operation.id));
        let as_asked = asked.is_some_and(|story| story.asked.iter().any(|(_, with)| *with == (to, amount)));
        hold(as_asked, || format!("R7, R10: the chain holds {entry:?}, nobody asked for it"))?;
    }
    Ok(())
}
