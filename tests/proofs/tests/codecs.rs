//! What is written and sent comes back as it was; what is cut short, goes on, or was changed is refused or is another value,
//! and nothing makes a decoder panic.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use paxos_banking::codec;
use paxos_banking::effect::Slot;
use paxos_banking::ledger::{Block, Genesis};
use paxos_banking::paxos::Message;
use paxos_banking::store::Head;
use paxos_banking::store::record::{self, Horizon, Identity, Kind, LogBatch, Peer, RefusedBatch};
use paxos_banking::types::Epoch;
use paxos_banking::wire::client::{Call, Reply};
use paxos_banking::wire::frame::frame_of;
use paxos_banking_proofs::values;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;

trait Value: Serialize + DeserializeOwned + PartialEq + Debug {}
impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Value for T {}

fn encoded<T: Value>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_into(&mut bytes, value);
    bytes
}

/// Whatever is taken in is written again, and read again as the same.
fn takes_in<T: Value>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert_eq!(codec::decode::<T>(&encoded(&value)).unwrap(), value);
    }
}

/// What must hold of any value, wherever it is cut and wherever one of its bytes is changed.
fn survives<T: Value>(value: &T, (cut, place, change): (Index, Index, u8)) {
    let mut bytes = encoded(value);
    assert_eq!(&codec::decode::<T>(&bytes).unwrap(), value);
    assert_eq!(encoded(&codec::decode::<T>(&bytes).unwrap()), bytes, "it has one form");
    assert!(codec::decode::<T>(&bytes[..cut.index(bytes.len())]).is_err(), "cut short");
    bytes.push(change);
    assert!(codec::decode::<T>(&bytes).is_err(), "with a byte more");
    bytes.pop();
    let place = place.index(bytes.len());
    bytes[place] ^= change;
    takes_in::<T>(&bytes);
}

/// The same of a record: there, no changed byte passes, and no other place.
fn survives_as_record<T: Value>(kind: Kind, value: &T, how: (Index, Index, u8)) {
    survives_stored(kind, value, |value| record::encode("key", kind, value), how);
}

/// The same of a kind that is encoded in a way of its own.
fn survives_stored<T: Value>(kind: Kind, value: &T, encode: impl FnOnce(&T) -> Vec<u8>, how: (Index, Index, u8)) {
    survives(value, how);
    let (cut, place, change) = how;
    let mut bytes = encode(value);
    assert_eq!(&record::decode::<T>("key", kind, &bytes).unwrap(), value);
    assert!(record::decode::<T>("kez", kind, &bytes).is_err(), "in another's place");
    let other = if kind == Kind::Head { Kind::Block } else { Kind::Head };
    assert!(record::decode::<T>("key", other, &bytes).is_err(), "as another kind");
    assert!(record::decode::<T>("key", kind, &bytes[..cut.index(bytes.len())]).is_err(), "cut short");
    let place = place.index(bytes.len());
    bytes[place] ^= change;
    assert!(record::decode::<T>("key", kind, &bytes).is_err(), "byte {place} is changed");
}

/// Where to cut, which byte to change, and how.
fn how() -> impl Strategy<Value = (Index, Index, u8)> {
    (any::<Index>(), any::<Index>(), 1..=u8::MAX)
}

proptest! {
    #[test]
    fn messages_between_nodes_come_back_as_they_were(message in values::message(), how in how()) {
        survives(&message, how);
        let frame = frame_of(&message);
        prop_assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        prop_assert_eq!(&frame[4..], &encoded(&message)[..]);
    }

    #[test]
    fn calls_and_replies_come_back_as_they_were(call in values::call(), reply in values::reply(), how in how()) {
        survives(&call, how);
        survives(&reply, how);
    }

    #[test]
    fn stored_blocks_and_logs_come_back_as_they_were(
        genesis in values::genesis(), block in values::block(), slot in values::slot(), log in values::log_batch(),
        refused in values::refused_batch(), how in how(),
    ) {
        survives_as_record(Kind::Genesis, &genesis, how);
        survives_stored(Kind::Block, &*block, |block| record::block("key", block), how);
        survives_stored(Kind::Slot, &slot, |slot| record::slot("key", slot), how);
        survives_as_record(Kind::Log, &log, how);
        survives_as_record(Kind::Refused, &refused, how);
        prop_assert!(block.bytes().len() <= block.bytes_bound());
    }

    #[test]
    fn stored_heads_and_names_come_back_as_they_were(
        head in values::head(), identity in values::identity(), peer in values::peer(), horizon in values::horizon(),
        epoch in values::epoch(), how in how(),
    ) {
        survives_as_record(Kind::Head, &head, how);
        survives_as_record(Kind::Identity, &identity, how);
        survives_as_record(Kind::Peer, &peer, how);
        survives_as_record(Kind::Horizon, &horizon, how);
        survives_as_record(Kind::Epoch, &epoch, how);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [&bytes[..], &[&[0x81, 0xa7][..], &bytes].concat(), &[&[0x95][..], &bytes].concat()] {
            takes_in::<Message>(bytes);
            takes_in::<Call>(bytes);
            takes_in::<Reply>(bytes);
            takes_in::<Genesis>(bytes);
            takes_in::<Block>(bytes);
            takes_in::<Slot>(bytes);
            takes_in::<Head>(bytes);
            takes_in::<LogBatch>(bytes);
            takes_in::<RefusedBatch>(bytes);
            takes_in::<Identity>(bytes);
            takes_in::<Peer>(bytes);
            takes_in::<Horizon>(bytes);
            takes_in::<Epoch>(bytes);
            prop_assert!(record::decode::<Head>("key", Kind::Head, bytes).is_err());
        }
    }

    #[test]
    fn a_part_of_one_value_in_the_place_of_another_makes_no_decoder_panic(
        one in values::message(), other in values::reply(), at in any::<Index>(), from in any::<Index>(),
    ) {
        let (one, other) = (encoded(&one), encoded(&other));
        for (head, tail) in [(&one, &other), (&other, &one), (&one, &one), (&other, &other)] {
            let spliced = [&head[..at.index(head.len())], &tail[from.index(tail.len())..]].concat();
            takes_in::<Message>(&spliced);
            takes_in::<Reply>(&spliced);
            takes_in::<Call>(&spliced);
        }
    }
}
