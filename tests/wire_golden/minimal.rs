//! The smallest client: what it sends and what it expects is taken from `docs/wire.md` alone, and so is the code that
//! it is made of, in `by_hand.rs`. If real nodes understand it, the document suffices.

use tokio::time::Instant;

use crate::bank::{self, Node};
use crate::by_hand::{Client, Hashed, PATIENCE, Value, map, text};

const ID: [u8; 16] = [1, 0x56, 0x3e, 0x3a, 0xb5, 0xd3, 0xd6, 0x76, 0x4c, 0x61, 0xef, 0xb9, 0x93, 2, 0xbd, 0x5b];
const OTHER_ID: [u8; 16] = [0xff; 16];

fn numbers<const N: usize>(numbers: [u64; N]) -> Value {
    Value::Array(numbers.map(Value::Number).into())
}

fn hello(node: &Node) -> (Client, Value) {
    let mut client = Client::connect(&node.client_address);
    // No notice is taken of what a node does not know.
    let fields = map([("version", Value::Number(2)), ("zone", text("eu"))]);
    let hello = map([("hello", fields)]);
    let welcome = client.ask(1, hello, "welcome");
    assert_eq!(welcome.field("version").number(), 2);
    (client, welcome)
}

fn until_ready(client: &mut Client) {
    let began = Instant::now();
    while client.ask(4, text("status"), "status").field("state").text() != "ready" {
        assert!(began.elapsed() < PATIENCE, "still not ready");
    }
}

/// What came of one transfer: kind, seq, height, reason.
fn transfer(client: &mut Client, id: [u8; 16], to: &str, amount: u64, wait: &str) -> Vec<Value> {
    let transfer = Value::Array(vec![Value::Bytes(id.into()), text("A"), text(to), Value::Number(amount)]);
    let fields =
        [("wait", text(wait)), ("within_ms", Value::Number(30_000)), ("transfers", Value::Array(vec![transfer]))];
    let outcomes = client.ask(2, map([("transfers", map(fields))]), "outcomes");
    let [outcome] = outcomes.items() else { panic!("{outcomes:?}") };
    assert_eq!(outcome.items()[0], Value::Number(0), "its index in the call");
    outcome.items()[1..].to_vec()
}

fn balance(client: &mut Client, account: &str) -> Value {
    let zero = || Value::Number(0);
    let fields = [("account", text(account)), ("read", text("local")), ("seen", zero()), ("within_ms", zero())];
    client.ask(3, map([("balance", map(fields))]), "balance")
}

/// The cluster id of A, B and C with 100 each.
fn cluster() -> [u8; 32] {
    let mut hashed = Hashed::new("paxos-banking genesis 1");
    hashed.number(3).text("A").text("B").text("C").number(3);
    for name in ["A", "B", "C"] {
        hashed.account(name).number(100);
    }
    hashed.finish()
}

fn hash_of(block: &Value) -> [u8; 32] {
    let mut hashed = Hashed::new("paxos-banking block 1");
    let runs = block.field("runs").items();
    hashed.number(block.field("height").number()).hash(block.field("parent").bytes());
    hashed.hash(block.field("state").bytes()).number(runs.len() as u64);
    for run in runs {
        let operations = run.field("operations").items();
        hashed.text(run.field("origin").text()).number(run.field("first").number()).number(operations.len() as u64);
        for operation in operations {
            let [kind, id, from, to, amount] = operation.items() else { panic!("{operation:?}") };
            hashed.bytes(id.bytes()).number(kind.number()).account(from.text());
            if kind.number() == 0 {
                hashed.account(to.text()).number(amount.number());
            }
        }
    }
    hashed.finish()
}

#[test]
fn a_client_made_of_the_document_alone_moves_money_and_verifies_the_chain() {
    let nodes = bank::start();
    let (mut client, welcome) = hello(&nodes[0]);
    assert_eq!((welcome.field("node").text(), welcome.field("cluster").bytes()), ("A", &cluster()[..]));
    assert_eq!(*welcome.field("homes").field("A"), text(&nodes[0].client_address));
    until_ready(&mut client);

    let settled = transfer(&mut client, ID, "B", 20, "settled");
    let [Value::Number(0), Value::Number(1), Value::Number(height), Value::Nil] = settled[..] else {
        panic!("{settled:?}")
    };
    // The same id over another connection: the same outcome.
    let (mut again, _) = hello(&nodes[0]);
    assert_eq!(transfer(&mut again, ID, "B", 20, "settled"), settled);
    assert_eq!(transfer(&mut again, ID, "B", 21, "local")[0], Value::Number(2), "another content: a conflict");
    let refused = transfer(&mut again, OTHER_ID, "B", 500, "local");
    assert_eq!(refused[..3], [Value::Number(1), Value::Nil, Value::Nil]);
    assert_eq!(*refused[3].field("code"), text("insufficient_funds"));
    assert_eq!(refused[3].field("spendable").number(), 80);

    let told = balance(&mut client, "A");
    assert_eq!((told.field("spendable").number(), told.field("settled").number()), (80, 80));
    assert_eq!((told.field("height").number(), told.field("not_heard").items().len()), (height, 0));

    let range = map([("from", Value::Number(1)), ("to", Value::Number(height))]);
    let chain = client.ask(5, map([("chain", range)]), "chain");
    let mut parent = cluster().to_vec();
    for block in chain.field("blocks").items() {
        let block = &Value::of(block.bytes());
        assert_eq!((block.field("parent").bytes(), block.field("hash").bytes()), (&parent[..], &hash_of(block)[..]));
        parent = block.field("hash").bytes().to_vec();
    }
    assert_eq!(*client.ask(6, text("status"), "status").field("tip"), Value::Bytes(parent));
}

#[test]
fn what_the_document_calls_a_mistake_is_answered_as_it_says() {
    let nodes = bank::start();
    let failed = |reply: &Value| {
        let failure = reply.field("told").field("failed");
        (reply.field("tag").number(), failure.field("code").text().to_owned())
    };
    let address = &nodes[0].client_address;
    // No call: tag 0, and closed.
    let (mut client, _) = hello(&nodes[0]);
    client.frame(&numbers([1, 2, 3]));
    assert_eq!(failed(&client.reply()), (0, "bad_call".to_owned()));
    assert!(client.is_closed());
    // No hello before the first question.
    let mut rude = Client::connect(address);
    rude.send(9, text("status"));
    assert_eq!(failed(&rude.reply()), (9, "bad_call".to_owned()));
    assert!(rude.is_closed());
    // Another version.
    let mut later = Client::connect(address);
    later.send(9, map([("hello", map([("version", Value::Number(3))]))]));
    assert_eq!(failed(&later.reply()), (9, "version".to_owned()));
    assert!(later.is_closed());
    // An account of another home: the connection goes on.
    let (mut client, _) = hello(&nodes[0]);
    let zero = || Value::Number(0);
    let fields = [("account", text("B")), ("read", text("local")), ("seen", zero()), ("within_ms", zero())];
    client.send(10, map([("balance", map(fields))]));
    assert_eq!(failed(&client.reply()), (10, "not_home".to_owned()));
    client.ask(11, text("status"), "status");
    // A transfer out of it is refused, which is an outcome.
    until_ready(&mut client);
    let transfer = Value::Array(vec![Value::Bytes(ID.into()), text("B"), text("A"), Value::Number(1)]);
    let fields = [("wait", text("local")), ("within_ms", zero()), ("transfers", Value::Array(vec![transfer]))];
    let outcomes = client.ask(12, map([("transfers", map(fields))]), "outcomes");
    assert_eq!(*outcomes.items()[0].items()[4].field("home"), text("B"));
}
