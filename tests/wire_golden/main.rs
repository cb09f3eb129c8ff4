//! `docs/wire.md` and the code say the same bytes. Each example of the document is built here, and encoded; the
//! document holds these bytes and no others, and they read back as the value. And a client that knows nothing but the
//! document talks to real nodes.
#![allow(clippy::unwrap_used)]

mod bank;
mod by_hand;
mod calls;
mod document;
mod example;
mod hashes;
mod limits;
mod messages;
mod minimal;
mod records;
mod values;

use std::collections::BTreeMap;

use crate::example::Example;

fn examples() -> BTreeMap<&'static str, Example> {
    let all = [calls::examples(), messages::examples(), records::examples(), hashes::examples()];
    let mut examples = BTreeMap::new();
    for example in all.into_iter().flatten() {
        let name = example.name;
        assert!(examples.insert(name, example).is_none(), "{name} is here twice");
    }
    examples
}

#[test]
fn the_document_holds_every_example_byte_for_byte() {
    let document = document::examples();
    let mut faults = Vec::new();
    for (name, example) in examples() {
        match document.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(found) if *found != example.bytes => faults.push(format!("{name} differs")),
            Some(_) => continue,
        }
        faults.push(format!("    {name}: {}", document::hex(&example.bytes)));
    }
    assert!(faults.is_empty(), "docs/wire.md does not hold what the code writes:\n{}", faults.join("\n"));
}

#[test]
fn every_example_of_the_document_reads_back_as_its_value() {
    let examples = examples();
    for (name, bytes) in document::examples() {
        let Some(example) = examples.get(name.as_str()) else { panic!("{name} stands in docs/wire.md and not here") };
        example.read_back(&bytes);
    }
}
