//! What a client asks: calls are taken one after the other, transfers and openings go to the Ledger, questions to who answers
//! them.

use std::time::Duration;

use actix::dev::SendError;
use actix::{ActorFutureExt as _, AsyncContext, Context, Message as ActixMessage, Recipient, WrapFuture as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::debug;

use super::questions::Question;
use super::socket::{Heard, Reader};
use super::{ClientConnection, OpenCall, WITHIN_MAX, failure, join, stopped, within};
use crate::actors::message::{Submit, SubmitOpening};
use crate::ledger::Opening;
use crate::wire::FrameError;
use crate::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, Failure, FailureCode, TRANSFERS_MAX};

impl ClientConnection {
    pub(super) fn listen(&mut self, reader: Reader, ctx: &mut Context<Self>) {
        let heard = reader.next().into_actor(self);
        self.listening = Some(ctx.spawn(heard.map(|(reader, heard), actor, ctx| {
            if actor.heard(heard, ctx) {
                actor.listen(reader, ctx);
            } else {
                // A client that says nothing more may still read.
                actor.close(ctx);
            }
        })));
    }

    /// False where the client is not to be listened to any more.
    fn heard(&mut self, heard: Heard, ctx: &mut Context<Self>) -> bool {
        match heard {
            Ok((call, room)) => self.take(call, room, ctx),
            Err(error) => {
                debug!(%error, "a client's connection ends");
                if matches!(error, FrameError::TooLong { .. } | FrameError::Malformed(_)) {
                    self.refuse(0, None, failure(FailureCode::BadCall, error.to_string()), ctx);
                }
                false
            }
        }
    }

    fn take(&mut self, Call { tag, ask }: Call, room: OwnedSemaphorePermit, ctx: &mut Context<Self>) -> bool {
        match ask {
            Ask::Hello { version } if version != CLIENT_PROTOCOL_VERSION => {
                let message = format!("this node speaks version {CLIENT_PROTOCOL_VERSION} of the client protocol");
                self.refuse(tag, Some(room), failure(FailureCode::Version, message), ctx);
                false
            }
            ask if !self.pulse.greeted() && !matches!(ask, Ask::Hello { .. }) => {
                let message = "the first call on a connection is hello";
                self.refuse(tag, Some(room), failure(FailureCode::BadCall, message), ctx);
                false
            }
            Ask::Transfers { transfers, .. } if transfers.len() > TRANSFERS_MAX => {
                let message = format!("{} transfers in one call; at most {TRANSFERS_MAX} are taken", transfers.len());
                self.refuse(tag, Some(room), failure(FailureCode::BadCall, message), ctx);
                true
            }
            Ask::Transfers { wait, within_ms, transfers } => {
                let slot = self.open(tag, transfers.len(), within(within_ms), Some(room), ctx);
                if transfers.is_empty() {
                    self.ready.push_back(slot);
                    self.flush();
                    return true;
                }
                let numbered = (0u32..).zip(transfers);
                let requests = numbered.map(|(index, transfer)| (join(slot, index), transfer.request(wait))).collect();
                let submit = Submit { requests, reply_to: ctx.address().recipient() };
                self.stopped_unless(hand_over(&self.service.ports.submit, submit), slot);
                true
            }
            Ask::Open { id, account, wait, within_ms } => {
                let slot = self.open(tag, 1, within(within_ms), Some(room), ctx);
                let (opening, reply_to) = (Opening { id, account, wait }, ctx.address().recipient());
                let submit = SubmitOpening { tag: join(slot, 0), opening, reply_to };
                self.stopped_unless(hand_over(&self.service.ports.open, submit), slot);
                true
            }
            ask => {
                self.pulse.greet();
                // There is a place for each that the window lets in.
                self.questions.as_ref().is_some_and(|asked| asked.try_send(Question { tag, ask, _room: room }).is_ok())
            }
        }
    }

    /// Opens a call of `count` requests, and returns its slot.
    fn open(
        &mut self,
        tag: u64,
        count: usize,
        within: Duration,
        room: Option<OwnedSemaphorePermit>,
        ctx: &mut Context<Self>,
    ) -> u32 {
        self.last_slot = self.last_slot.wrapping_add(1);
        let (slot, until) = (self.last_slot, Instant::now() + within);
        let call = OpenCall { tag, open: count, decided: Vec::new(), failure: None, until, _room: room };
        self.calls.insert(slot, call);
        self.deadlines.insert((until, slot));
        self.watch(ctx);
        slot
    }

    /// A call that is not taken is told why. It has its part of the window until then, where it could be read.
    fn refuse(&mut self, tag: u64, room: Option<OwnedSemaphorePermit>, failure: Failure, ctx: &mut Context<Self>) {
        let slot = self.open(tag, 0, WITHIN_MAX, room, ctx);
        self.fail(slot, failure);
        self.flush();
    }

    /// A call that the Ledger did not take is told that there is none any more.
    fn stopped_unless(&mut self, taken: bool, slot: u32) {
        if !taken {
            self.fail(slot, stopped());
            self.flush();
        }
    }
}

/// False where the Ledger is gone.
fn hand_over<M: ActixMessage<Result = ()> + Send>(ledger: &Recipient<M>, message: M) -> bool {
    match ledger.try_send(message) {
        Ok(()) => true,
        // However full its mailbox is: the window bounds what a client has in the works, there or elsewhere.
        Err(SendError::Full(message)) => {
            ledger.do_send(message);
            true
        }
        Err(SendError::Closed(_)) => false,
    }
}
