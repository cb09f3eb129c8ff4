use std::sync::Arc;

use super::*;
use crate::effect::Slot;
use crate::ledger::{Action, Block, Genesis, Reason, Run};
use crate::store::{Accepted, Head, field};
use crate::types::{Amount, Ballot, Epoch, Height};

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
    }
}

fn identity() -> Identity {
    Identity { bank: genesis().id(), node: "A".parse().unwrap(), incarnation: Incarnation(0xfeed) }
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails when a stored byte moves. Whoever changes these changes the format: stores that are out there need a new
/// version, and a reader for the old one.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    key: &str,
    kind: Kind,
    value: &T,
    expected: &str,
) {
    let bytes = encode(key, kind, value);
    assert_eq!(hex(&bytes), expected, "{key}");
    assert_eq!(&decode::<T>(key, kind, &bytes).unwrap(), value);
}

#[test]
fn the_bytes_of_every_kind_of_record_stay_as_they_are() {
    golden(
        "chain/0",
        Kind::Genesis,
        &genesis(),
        "b0a1832bf5e457e952ba9a972c20e88b010182a56e6f64657393a141a142a143a76f70656e696e6783a14164a14264a14364",
    );
    golden(
        "chain/1",
        Kind::Block,
        &block(),
        "1160638fa453d8243771d97ec95808db010285a668656967687401a6706172656e74c4209b36f65fcec074383a3efa0c034b\
         2cfa6d62130f0d95095bea0ec0f50a13b33fa57374617465c420151a9128a46b353a00d3aca80f169a789fe818de7d8204a7\
         8b9b195fae291a20a472756e739283a66f726967696ea141a5666972737401aa6f7065726174696f6e73919500c410000000\
         00000000000000000000000001a141a5626f624042ccfa83a66f726967696ea142a5666972737401aa6f7065726174696f6e\
         73919501c41000000000000000000000000000000007a5626f624042a5626f62404200a468617368c420f3d948ba393afe2d\
         c5d6e4a70e82ef2acf058fc7125e10888ef7a979f372e47b",
    );
    golden(
        "log/300",
        Kind::Log,
        &LogBatch { first: Seq(300), operations: vec![operation(u128::MAX)] },
        "862b43288e5153c8c22f98652ede005b010382a56669727374cd012caa6f7065726174696f6e73919500c410ffffffffffff\
         ffffffffffffffffffffa141a5626f624042ccfa",
    );
    golden(
        "refused/1",
        Kind::Refused,
        &refused(),
        "92f869d424bfde3fb417a3cf4acc854b010481a87265667573616c739285a26964c410000000000000000000000000000000\
         01a466726f6da141a2746fa143a6616d6f756e7401a6726561736f6e84a4636f6465b2696e73756666696369656e745f6675\
         6e6473a668656967687402a97370656e6461626c6500a96e6f745f686561726491a14285a26964c410000000000000000000\
         00000000000002a466726f6da141a2746fa143a6616d6f756e7401a6726561736f6e83a4636f6465af756e6b6e6f776e5f61\
         63636f756e74a668656967687402a76163636f756e74a3784043",
    );
    golden(
        field::HEAD,
        Kind::Head,
        &head(),
        "f94d80c01061b6bfa7ccf92583b6028901058ca5777269746509a668656967687402a3746970c420f3d948ba393afe2dc5d6\
         e4a70e82ef2acf058fc7125e10888ef7a979f372e47ba96c6f675f666972737404a86c6f675f6c617374cd012cad72656675\
         7365645f666972737401ac726566757365645f6c61737402a770726f6d69736582a5726f756e6403a46e6f6465a142a86163\
         63657074656483a662616c6c6f7482a5726f756e6403a46e6f6465a142a668656967687403a468617368c420000000000000\
         0000000000000000000000000000000000000000000000000000a861646d6974746564c3a8686f72697a6f6e7301a5706565\
         727302",
    );
    golden(
        field::IDENTITY,
        Kind::Identity,
        &identity(),
        "da9686558cb04c3fa9565020c431f440010683a462616e6bc4209b36f65fcec074383a3efa0c034b2cfa6d62130f0d95095b\
         ea0ec0f50a13b33fa46e6f6465a141ab696e6361726e6174696f6ecdfeed",
    );
    golden(
        field::SLOT,
        Kind::Slot,
        &Slot { ballot: ballot(), block: Arc::new(block()) },
        "3ab5984136b5090752b55130c84e71e8010782a662616c6c6f7482a5726f756e6403a46e6f6465a142a5626c6f636b85a668\
         656967687401a6706172656e74c4209b36f65fcec074383a3efa0c034b2cfa6d62130f0d95095bea0ec0f50a13b33fa57374\
         617465c420151a9128a46b353a00d3aca80f169a789fe818de7d8204a78b9b195fae291a20a472756e739283a66f72696769\
         6ea141a5666972737401aa6f7065726174696f6e73919500c41000000000000000000000000000000001a141a5626f624042\
         ccfa83a66f726967696ea142a5666972737401aa6f7065726174696f6e73919501c410000000000000000000000000000000\
         07a5626f624042a5626f62404200a468617368c420f3d948ba393afe2dc5d6e4a70e82ef2acf058fc7125e10888ef7a979f3\
         72e47b",
    );
    golden(
        "peer/B",
        Kind::Peer,
        &Peer { incarnation: Incarnation(u64::MAX) },
        "5890a2e923295c23037c852c00e2a78e010881ab696e6361726e6174696f6ecfffffffffffffffff",
    );
    golden(
        "horizon/alice@A",
        Kind::Horizon,
        &Horizon { id: 5.into() },
        "3ba156167f18a2851d848790b368c08e010981a26964c41000000000000000000000000000000005",
    );
    golden(
        field::EPOCH,
        Kind::Epoch,
        &Epoch { number: 3, token: 70_000 },
        "653446cdb2364ed21aa9dba51fa815c0010a82a66e756d62657203a5746f6b656ece00011170",
    );
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
    let bytes = encode_as(field::HEAD, 2, Kind::Head, &"what a later version keeps here");
    let newer = StoreError::NewerFormat { key: "head".to_owned(), found: 2, supported: 1 };
    assert_eq!(decode::<Head>(field::HEAD, Kind::Head, &bytes), Err(newer));
    let bytes = encode_as(field::HEAD, 0, Kind::Head, &head());
    assert!(matches!(decode::<Head>(field::HEAD, Kind::Head, &bytes), Err(StoreError::Corrupt { .. })));
}

/// Seals what stands behind the header anew, so that the decoder below the checksum is reached.
fn sealed(key: &str, mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(&sum);
    bytes
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
