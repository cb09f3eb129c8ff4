//! Chains as files: written whole or not at all, verified whenever they are read, and compared with nodes.

use std::path::Path;
use std::sync::Arc;

use paxos_banking::ledger::{Block, Genesis};
use paxos_banking::types::Height;
use paxos_banking::wire::client::{Ask, Call, FailureCode, GenesisPage, Told};
use serde_json::json;

use crate::commands::{json_of, paxbank, text_of};
use crate::node::{Act, Bank, Node, failed, other_cluster, status};
use crate::reads::{chain, chain_from, page};

/// A node with this chain, which says how long it is.
fn start(bank: &mut Bank, name: &str, blocks: &[Arc<Block>]) -> Node {
    let (welcome, genesis, blocks) = (bank.welcome(name), bank.genesis.clone(), blocks.to_vec());
    bank.start_bare(name, move |call| answer(&welcome, &genesis, &blocks, call))
}

pub fn answer(
    welcome: &paxos_banking::wire::client::Welcome,
    genesis: &Genesis,
    blocks: &[Arc<Block>],
    call: &Call,
) -> Vec<Act> {
    match call.ask {
        Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
        Ask::Status => {
            let mut status = status(welcome.node, welcome);
            status.height = Height(blocks.len() as u64);
            vec![Act::Tell(Told::Status(status))]
        }
        Ask::Genesis { after } => vec![Act::Tell(Told::Genesis(GenesisPage::of(genesis, after)))],
        _ => vec![page(blocks, call)],
    }
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_chain_is_written_by_one_command_and_read_by_the_other() {
    let blocks = chain(5);
    let mut bank = Bank::new().await;
    let (a, b) = (start(&mut bank, "A", &blocks[..3]), start(&mut bank, "B", &blocks));
    bank.close("C");
    let nodes = [a.address.as_str(), &b.address].join(",");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let file = path.to_str().unwrap();
    let export = ["export", file, "--nodes", &nodes, "--deadline", "20s"];
    let (status, value) = json_of(&export).await;
    assert_eq!((status, &value["height"], &value["entries"]), (0, &json!(5), &json!(5)), "the longest: {value}");
    assert_eq!((&value["tip"], &value["cluster"]), (&json!(blocks[4].hash()), &json!(bank.genesis.id())));
    assert_eq!(files(directory.path()), ["bank.jsonl"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let opening = json!({ "A": 100, "B": 100, "C": 100 });
    let expected = json!({
        "format": 1, "cluster": bank.genesis.id(), "height": 5, "nodes": ["A", "B", "C"], "opening": opening,
    });
    assert_eq!((first, text.lines().count()), (expected, 6));
    let output = paxbank(&["export", "-", "--nodes", &nodes]).await;
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), text));

    let (status, value) = json_of(&["import", file]).await;
    assert_eq!((status, &value["height"], &value["entries"], &value["total"]), (0, &json!(5), &json!(5), &json!(300)));
    assert_eq!(value["settled"], json!({ "A": 95, "B": 105, "C": 100 }));
    let (status, value) = json_of(&["import", file, "--compare", "--nodes", &nodes, "--deadline", "3s"]).await;
    assert_eq!((status, &value["nodes"]["B"]), (0, &json!({ "chain": "equal" })), "{value}");
    assert_eq!(value["nodes"]["A"], json!({ "chain": "prefix", "blocks": 2 }));
    assert_eq!(value["not_heard"].as_object().unwrap().len(), 1, "C is away");
}

#[tokio::test]
async fn nothing_is_written_over_and_half_a_chain_gets_no_name() {
    let blocks = chain(5);
    let mut bank = Bank::new().await;
    let a = start(&mut bank, "A", &blocks);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "mine").unwrap();
    let (status, value) = json_of(&["export", file, "--nodes", &a.address]).await;
    assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains("--force"), "{value}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(json_of(&["export", file, "--force", "--nodes", &a.address]).await.0, 0);
    assert_eq!(json_of(&["import", file]).await.0, 0);
    // What is no file is somebody else's.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let (status, value) = json_of(&["export", link.to_str().unwrap(), "--force", "--nodes", &a.address]).await;
    assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains("is no file"), "{value}");
    assert!(link.is_symlink());
    std::fs::remove_file(&link).unwrap();
    let (status, value) = json_of(&["export", "-", "--nodes", &a.address]).await;
    assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains("one JSON value"), "{value}");
    let (status, value) = json_of(&["export", directory.path().to_str().unwrap(), "--nodes", &a.address]).await;
    assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains("is a directory"), "{value}");

    // From block 3 on, B tells nothing, and C another history.
    let (welcome, genesis, served) = (bank.welcome("B"), bank.genesis.clone(), blocks.clone());
    let b = bank.start_bare("B", move |call| match call.ask {
        Ask::Chain { from, .. } if from > Height(2) => vec![failed(FailureCode::Store)],
        _ => answer(&welcome, &genesis, &served, call),
    });
    let forged = [&blocks[..2], &chain_from(9, 5)[2..]].concat();
    let c = start(&mut bank, "C", &forged);
    drop(a);
    std::fs::remove_file(&path).unwrap();
    let (status, value) = json_of(&["export", file, "--nodes", &b.address, "--deadline", "2s"]).await;
    assert!(matches!(status, 3 | 5), "B fails, C forges: {value}");
    assert_eq!(files(directory.path()), Vec::<String>::new());
    drop(b);
    let (status, value) = json_of(&["export", file, "--nodes", &c.address, "--deadline", "2s"]).await;
    assert!(status == 5 && value["error"]["message"].as_str().unwrap().contains("block 3 of node C"), "{value}");
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_file_is_named_by_its_line_and_another_history_by_its_height() {
    let blocks = chain(4);
    let mut bank = Bank::new().await;
    let a = start(&mut bank, "A", &blocks);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let file = path.to_str().unwrap();
    assert_eq!(json_of(&["export", file, "--nodes", &a.address]).await.0, 0);
    drop(a);
    let text = std::fs::read_to_string(&path).unwrap();

    let mut bank = Bank::new().await;
    let other = start(&mut bank, "A", &[&blocks[..2], &chain_from(9, 6)[2..]].concat());
    let same = start(&mut bank, "B", &[&blocks[..], &chain(6)[4..]].concat());
    bank.close("C");
    let nodes = [other.address.as_str(), &same.address].join(",");
    let compare = ["import", file, "--compare", "--nodes", &nodes, "--deadline", "3s"];
    let (status, value) = json_of(&compare).await;
    assert_eq!((status, &value["nodes"]["A"]), (5, &json!({ "chain": "different", "height": 3 })), "{value}");
    assert_eq!(value["nodes"]["B"], json!({ "chain": "longer", "blocks": 2 }));
    let (status, told) = text_of(&compare).await;
    assert!(status == 5 && told.contains("A  holds another block at height 3: two histories"), "{told}");

    std::fs::write(&path, text.replacen("\"amount\":1}", "\"amount\":7}", 3)).unwrap();
    let (status, value) = json_of(&["import", file]).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert!(status == 5 && message.contains("bank.jsonl, line 2: block 1 carries the hash"), "{message}");
    let whole: Vec<&str> = text.lines().collect();
    std::fs::write(&path, whole[..3].join("\n")).unwrap();
    let (status, value) = json_of(&["import", file]).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert!(status == 5 && message.contains("line 4: the file ends after block 2"), "{message}");
    assert_eq!(json_of(&["import", "/nowhere/bank.jsonl"]).await.0, 2);
}

#[tokio::test]
async fn a_file_of_another_bank_is_compared_with_nothing() {
    let mut bank = Bank::new().await;
    let a = start(&mut bank, "A", &chain(2));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let file = path.to_str().unwrap();
    assert_eq!(json_of(&["export", file, "--nodes", &a.address]).await.0, 0);
    let mut welcome = bank.welcome("B");
    welcome.cluster = other_cluster();
    let b = bank.start_as("B", welcome, |_| vec![]);
    let (status, value) = json_of(&["import", file, "--compare", "--nodes", &b.address]).await;
    assert_eq!((status, &value["error"]["code"]), (2, &json!("wrong_cluster")), "{value}");
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_export_leaves_nothing_behind() {
    let mut bank = Bank::new().await;
    let (welcome, genesis, blocks) = (bank.welcome("A"), bank.genesis.clone(), chain(5));
    let a = bank.start_bare("A", move |call| match call.ask {
        Ask::Chain { from, .. } if from > Height(2) => vec![],
        _ => answer(&welcome, &genesis, &blocks, call),
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bank.jsonl");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.arg("export").arg(&path).args(["--nodes", &a.address, "--deadline", "60s"]).kill_on_drop(true);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let calls = a.calls.clone();
    let waits = |ask: &Ask| matches!(ask, Ask::Chain { from, .. } if *from > Height(2));
    while !calls.lock().unwrap().iter().any(waits) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(files(directory.path()).len(), 1, "it is under way, under another name");
    assert!(!path.exists());
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert_eq!(files(directory.path()), Vec::<String>::new());
}
