//! What must hold of each message, when it is put on the wire.

use super::*;

/// All that a message must keep to when it is put on the wire.
pub fn messages(record: &mut Record, outgoing: &Outgoing) -> Held {
    let reached = record.reached.get(&outgoing.from).cloned().unwrap_or_default();
    r3_durable_before_said(&reached, outgoing)?;
    r3_a_vote_is_durable_before_it_is_said(record, outgoing)?;
    r4_a_promise_tells_the_vote(record, outgoing)?;
    r1_no_vote_above_the_next_height(record, &reached, outgoing)?;
    r11_babies_do_not_vote(&reached, outgoing)?;
    r11_an_incarnation_is_durable_before_it_is_known(record, outgoing)?;
    r3_promises_never_fall(record, outgoing)?;
    r3_no_ballot_is_used_by_two_processes(record, outgoing)?;
    r6_one_block_per_ballot_and_height(record, outgoing)?;
    r4_a_block_is_bounded_and_shared(record, outgoing)?;
    r6_a_majority_has_answered_this_very_collection(record, outgoing)
}

/// R3, R7: a message says nothing that its sender's disk does not hold; but who is asked for the height above its own may
/// know that from a block that is not durable yet.
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
        Message::Nack(nack) => {
            let may_run_ahead = matches!(nack.kind, NackKind::Outbid { .. }) && nack.height.next() == nack.asked;
            nack.promised <= reached.promise && (nack.height <= reached.height || may_run_ahead)
        }
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

/// R1: a vote is for the own height + 1. (One that was overtaken by its block in one write is for the own height.) A
/// PROMISE may overtake the write of the block below it, which whoever asked has on its disk.
fn r1_no_vote_above_the_next_height(
    record: &mut Record,
    reached: &Reached,
    Outgoing { from, to, message, .. }: &Outgoing,
) -> Held {
    let height = match message {
        Message::Promise(promise) => {
            let asker = record.reached.get(to).map(|asker| asker.height);
            if asker.is_some_and(|height| promise.height <= height.next()) && promise.height > reached.height.next() {
                record.counts.add("PROMISEs that overtook a block");
                return Ok(());
            }
            promise.height
        }
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
