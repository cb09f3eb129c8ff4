use std::sync::Arc;

use super::*;
use crate::effect::Slot;
use crate::ledger::{Action, Block, Genesis, Reason, Run};
use crate::store::{Accepted, Head, Saved, field};
use crate::types::{Amount, Ballot, Height};

fn operation(id: u128) -> Operation {
    let action =
        Action::Transfer { from: "A".parse().unwrap(), to: "bob@B".parse().unwrap(), amount: Amount::new(250) };
    Operation { id: id.into(), action }
}

fn genesis() -> Genesis {
    Genesis::with_equal_openings(["A", "B", "C"].map(|name| name.parse().unwrap()), Amount::new(100)).unwrap()
}

fn block() -> Block {
    let open = Operation { id: 7.into(), action: Action::Open { account: "bob@B".parse().unwrap() } };
    let run =
        |origin: &str, operation| Run { origin: origin.parse().unwrap(), first: Seq(1), operations: vec![operation] };
    Block::new(Height(1), genesis().id(), genesis().state_hash(), vec![run("A", operation(1)), run("B", open)]).unwrap()
}

fn ballot() -> Ballot {
    Ballot { round: 3, node: "B".parse().unwrap() }
}

fn head() -> Head {
    Head {
        write: 9,
        height: Height(2),
        tip: block().hash(),
        log_first: Seq(4),
        log_last: Seq(300),
        refused_first: 1,
        refused_last: 2,
        promise: Some(ballot()),
        accepted: Some(Accepted { ballot: ballot(), height: Height(3), hash: Hash::ZERO }),
        admitted: true,
        horizons: 1,
        peers: 2,
        state_last: 7,
        saved: Some(Saved { height: Height(2), first: 6, last: 7 }),
    }
}

fn refused() -> RefusedBatch {
    let refusal = |id: u128, reason| Refusal {
        id: id.into(),
        from: "A".parse().unwrap(),
        to: "C".parse().unwrap(),
        amount: Amount::new(1),
        reason,
    };
    let not_heard = ["B".parse().unwrap()].into();
    let funds = Reason::InsufficientFunds { height: Height(2), spendable: Amount::new(0), not_heard };
    let unknown = Reason::UnknownAccount { height: Height(2), account: "x@C".parse().unwrap() };
    RefusedBatch { refusals: vec![refusal(1, funds), refusal(2, unknown)] }
}

#[test]
fn r13_every_flipped_bit_and_every_lost_tail_of_a_record_is_found() {
    let bytes = encode(field::HEAD, Kind::Head, &head());
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1 << bit;
            let error = decode::<Head>(field::HEAD, Kind::Head, &damaged).unwrap_err();
            assert!(matches!(&error, StoreError::Corrupt { key, .. } if key == "head"), "{index}: {error}");
        }
        assert!(matches!(decode::<Head>(field::HEAD, Kind::Head, &bytes[..index]), Err(StoreError::Corrupt { .. })));
    }
}

#[test]
fn r13_an_intact_record_in_the_place_of_another_is_found() {
    let batch = LogBatch { first: Seq(1), operations: vec![operation(1)] };
    let bytes = encode("log/1", Kind::Log, &batch);
    assert!(matches!(decode::<LogBatch>("log/2", Kind::Log, &bytes), Err(StoreError::Corrupt { .. })));
    let peer = encode("slot", Kind::Peer, &Peer { incarnation: Incarnation(1) });
    assert!(matches!(decode::<Slot>("slot", Kind::Slot, &peer), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let bytes =
        encode_as(field::HEAD, 2, Kind::Head, |bytes| codec::encode_into(bytes, &"what a later version keeps here"));
    let newer = StoreError::NewerFormat { key: "head".to_owned(), found: 2, supported: 1 };
    assert_eq!(decode::<Head>(field::HEAD, Kind::Head, &bytes), Err(newer));
    let bytes = encode_as(field::HEAD, 0, Kind::Head, |bytes| codec::encode_into(bytes, &head()));
    assert!(matches!(decode::<Head>(field::HEAD, Kind::Head, &bytes), Err(StoreError::Corrupt { .. })));
}

/// Seals what stands behind the header anew, so that the decoder below the checksum is reached.
fn sealed(key: &str, mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(&sum);
    bytes
}

#[test]
fn entries_are_stored_alike_in_whatever_groups_they_came() {
    let batch = LogBatch { first: Seq(7), operations: (1..=20).map(operation).collect() };
    let whole = encode("log/26", Kind::Log, &batch);
    for size in [1, 3, 16, 20] {
        let groups: Vec<_> = batch.operations.chunks(size).map(<[_]>::to_vec).collect();
        assert_eq!(log("log/26", batch.first, &groups), whole, "by {size}");
    }
}

#[test]
fn bytes_left_over_are_refused() {
    let mut bytes = encode(field::HEAD, Kind::Head, &head());
    bytes.push(0xc0);
    let error = decode::<Head>(field::HEAD, Kind::Head, &sealed(field::HEAD, bytes)).unwrap_err();
    assert!(error.to_string().contains("left over"), "{error}");
}

fn bear_anything<T: Serialize + DeserializeOwned>(kind: Kind, value: &T) {
    let decodes = |bytes: Vec<u8>| decode::<T>("k", kind, &sealed("k", bytes)).is_ok();
    let bytes = encode("k", kind, value);
    assert!(decodes(bytes.clone()), "{kind:?}");
    for index in HEADER_BYTES..bytes.len() {
        for wrong in [0x00, 0x80, 0x90, 0xc0, 0xc1, 0xc4, 0xc6, 0xcf, 0xd9, 0xdb, 0xdd, 0xdf, 0xff] {
            let mut bytes = bytes.clone();
            bytes[index] = wrong;
            decodes(bytes);
        }
        assert!(!decodes(bytes[..index].to_vec()), "{kind:?} cut at {index}");
    }
    let nested = [&bytes[..HEADER_BYTES], &[0x91; 100_000]].concat();
    assert!(!decodes(nested));
}

#[test]
fn no_payload_however_wrong_panics_or_exhausts_memory() {
    bear_anything(Kind::Head, &head());
    bear_anything(Kind::Slot, &Slot { ballot: ballot(), block: Arc::new(block()) });
    bear_anything(Kind::Refused, &refused());
    bear_anything(Kind::Genesis, &genesis());
    bear_anything(Kind::Log, &LogBatch { first: Seq(u64::MAX), operations: vec![operation(1)] });
}
