//! What is hashed, put together by the rules of the document, and what the code makes of it.

use paxos_banking::store::record::{self, Kind, Peer};
use paxos_banking::types::Incarnation;

use crate::by_hand::Hashed;
use crate::example::Example;
use crate::values::{bank_1, block_1, block_2, genesis, id};

pub fn examples() -> Vec<Example> {
    let (genesis, block_1, block_2) = (genesis(), block_1(), block_2());
    let known = [
        ("hash.cluster", cluster(), *genesis.id().as_bytes()),
        ("hash.state_0", state_0(), *genesis.state_hash().as_bytes()),
        ("hash.block_1", first_block(), *block_1.hash().as_bytes()),
        ("hash.state_1", state_1(), *bank_1().state().as_bytes()),
        ("hash.block_2", second_block(), *block_2.hash().as_bytes()),
    ];
    let mut examples = Vec::new();
    for (name, input, hash) in known {
        assert_eq!(input.finish(), hash, "the rules of the document and the code differ about {name}");
        examples.push(Example::raw(name, hash));
    }
    examples.push(Example::raw("hash.cluster.input", cluster().0));
    examples.push(Example::raw("hash.state_0.input", state_0().0));
    examples.push(Example::raw("hash.block_1.input", first_block().0));
    examples.push(Example::raw("hash.state_1.input", state_1().0));
    examples.push(Example::raw("hash.block_2.input", second_block().0));
    examples.push(Example::raw("hash.record.input", checksum()));
    examples
}

fn cluster() -> Hashed {
    let mut hashed = Hashed::new("paxos-banking genesis 1");
    hashed.number(3).text("A").text("B").text("C").number(3);
    for name in ["A", "B", "C"] {
        hashed.text(name).text(name).number(100);
    }
    hashed
}

fn state_0() -> Hashed {
    let mut hashed = Hashed::new("paxos-banking state 1");
    hashed.hash(&cluster().finish());
    hashed
}

fn first_block() -> Hashed {
    let mut hashed = Hashed::new("paxos-banking block 1");
    hashed.number(1).hash(&cluster().finish()).hash(&state_0().finish()).number(2);
    hashed.text("A").number(1).number(1);
    hashed.bytes(&id('V').to_bytes()).number(0).text("A").text("A").text("B").text("B").number(60);
    hashed.text("B").number(1).number(2);
    hashed.bytes(&id('W').to_bytes()).number(1).text("bob").text("B");
    hashed.bytes(&id('X').to_bytes()).number(0).text("B").text("B").text("bob").text("B").number(30);
    hashed
}

fn state_1() -> Hashed {
    let mut hashed = Hashed::new("paxos-banking effects 1");
    hashed.hash(&state_0().finish()).number(1).number(3);
    hashed.text("A").text("A").number(40).text("B").text("B").number(130).text("bob").text("B").number(30);
    hashed.number(2).text("A").number(1).text("B").number(2);
    hashed
}

fn second_block() -> Hashed {
    let mut hashed = Hashed::new("paxos-banking block 1");
    hashed.number(2).hash(&first_block().finish()).hash(&state_1().finish()).number(1);
    hashed.text("C").number(1).number(1);
    hashed.bytes(&id('Y').to_bytes()).number(0).text("C").text("C").text("A").text("A").number(10);
    hashed
}

/// What the checksum of the example of a peer's record covers.
fn checksum() -> Vec<u8> {
    let bytes = record::encode("peer/B", Kind::Peer, &Peer { incarnation: Incarnation(u64::MAX) });
    let mut hashed = Hashed::new("paxos-banking record");
    hashed.text("peer/B").bytes(&bytes[16..]);
    assert_eq!(hashed.finish()[..16], bytes[..16], "the rules of the document and the code differ about checksums");
    hashed.0
}
