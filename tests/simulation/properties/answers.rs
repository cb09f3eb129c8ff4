//! What must hold of answers to transfers and openings.

use super::*;

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
        Answer::Refused(reason) => History::refused_by_form(identity(&request), content(&request), reason)
            .map_err(|violation| violation.to_string())?,
        Answer::Conflict => {
            r10_a_conflict_has_another_content(&record.answers, &request)?;
            record.answers.history.conflict(identity(&request), content(&request));
        }
        Answer::Expired => {
            r10_a_horizon_is_durable(record, &request)?;
            r10_only_old_ids_expire(record, &request)?;
            let now = record.answers.tick();
            record.answers.history.expired(identity(&request), now);
        }
        Answer::Busy | Answer::NotReady => {
            record.answers.history.turned_away(identity(&request));
        }
        Answer::Pending => {
            let Some(last) = record.answers.stopped.get(&number).copied() else {
                return Err(format!("R10: {request:?} is told as pending, though its client waits"));
            };
            record.answers.pending.entry(identity(&request)).or_insert(last);
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
        Err(_) if record.exempt.destroyed.contains(&home) => Ok(()),
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
    let lost = record.exempt.destroyed.contains(&home) || record.damaged.contains(&home);
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
    if let Some(height) = approval.height {
        record.answers.history.settled_at(identity(&request), height);
        record.answers.settled.entry(identity(&request)).or_insert(now);
        return Ok(());
    }
    let settled = record.answers.settled.get(&identity(&request));
    hold(exempt || settled.is_none_or(|heard| *heard > called), || {
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
            hold(
                (same || record.exempt.destroyed.contains(&origin)) && height.is_none_or(|height| height == at),
                || format!("R10: {request:?} is {approval:?}; the chain holds {entry:?} there, at height {at}"),
            )
        }
        None => hold(height.is_none_or(|height| height > record.chain.height()), || {
            format!("R10: {request:?} is {approval:?}; the chain holds no such entry")
        }),
    }
}

/// R10: a conflict needs an earlier request with the same identity and another content.
fn r10_a_conflict_has_another_content(answers: &Answers, request: &Request) -> Held {
    let story = answers.history.stories.get(&identity(request));
    hold(story.is_some_and(|story| story.has_other_content(content(request))), || {
        format!("R10: {request:?} is a conflict, but nobody used its id for anything else")
    })
}

/// R10: a horizon is durable before `expired` is answered.
fn r10_a_horizon_is_durable(record: &Record, request: &Request) -> Held {
    let home = request.from.home();
    let horizon = |owner| durable_horizon(record, home, owner);
    let durable = horizon(Some(request.from)).max(horizon(None));
    let exempt = record.exempt.destroyed.contains(&home) || record.damaged.contains(&home);
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
    let again = record.answers.history.stories.get(&identity(request)).is_some_and(|story| story.asked.len() > 1);
    hold(again || record.answers.largest_asked.iter().any(newer), || {
        format!("R10: {request:?} has expired, though nothing newer was ever asked of its account")
    })
}

/// R10: an id at or below the horizon is never executed, nor remembered again.
fn r10_what_expired_stays_expired(record: &Record, request: &Request, now: u64) -> Held {
    let home = request.from.home();
    let story = record.answers.history.stories.get(&identity(request));
    let expired = story.is_some_and(|story| story.expired.is_some());
    // Of two processes the older one may still tell what the newer one has forgotten.
    let exempt = record.was_doubled(home, now, now) || record.exempt.destroyed.contains(&home);
    hold(!expired || exempt, || format!("R10: {request:?} had expired, and is decided now"))
}
