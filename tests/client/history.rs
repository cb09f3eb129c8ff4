//! Histories held against nodes, and against an exported chain.

use std::sync::Arc;

use paxos_banking::ledger::Block;
use paxos_banking::types::Seq;
use paxos_banking::wire::client::{Ask, Call, FailureCode, LogEntry, Told};
use serde_json::json;

use crate::commands::{json_of, paxbank, text_of};
use crate::export::answer;
use crate::node::{Act, Bank, failed};
use crate::reads::{chain, chain_from, operation};

/// What the clients of the chain of `reads` were told, with one entry more in A's log: A:n moves 1 to B, under the id n + 1.
fn history(blocks: u64) -> String {
    let line = |n: u64| {
        let (id, call) = (operation(n + 1).id, 10 * n);
        let settled = if n <= blocks { format!(",\"height\":{n}") } else { String::new() };
        format!(
            "{{\"client\":\"a\",\"call\":{call},\"ret\":{},\"op\":\"transfer\",\"id\":\"{id}\",\"from\":\"A\",\"to\":\"B\",\
             \"amount\":1,\"result\":\"approved\",\"origin\":\"A\",\"seq\":{n}{settled}}}\n",
            call + 5
        )
    };
    (1..=blocks + 1).map(line).collect()
}

/// A node with this chain, whose log holds the entry behind `blocks`, where it is A's.
fn with_log(bank: &mut Bank, name: &str, blocks: &[Arc<Block>], unsettled: u64) -> crate::node::Node {
    let (welcome, genesis, blocks) = (bank.welcome(name), bank.genesis.clone(), blocks.to_vec());
    let is_home = name == "A";
    bank.start_bare(name, move |call: &Call| match call.ask {
        Ask::Log { from } => {
            let entry = LogEntry(Seq(unsettled), operation(unsettled + 1));
            let log = [entry].into_iter().filter(|entry| is_home && entry.0 >= from).collect();
            vec![Act::Tell(Told::Log(log))]
        }
        _ => answer(&welcome, &genesis, &blocks, call),
    })
}

#[tokio::test]
async fn a_true_history_passes_and_a_lie_is_status_5_with_its_rule() {
    let blocks = chain(5);
    let mut bank = Bank::new().await;
    // A lags: what its log holds of settled entries is no second time.
    let a = with_log(&mut bank, "A", &blocks[..4], 6);
    let b = with_log(&mut bank, "B", &blocks, 6);
    let c = with_log(&mut bank, "C", &blocks, 6);
    let nodes = [a.address.as_str(), &b.address, &c.address].join(",");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    let file = path.to_str().unwrap();
    let check = ["check-history", file, "--complete", "--nodes", &nodes, "--deadline", "20s"];
    std::fs::write(&path, history(5)).unwrap();
    let (status, value) = json_of(&check).await;
    assert_eq!((status, &value["violations"], &value["not_heard"]), (0, &json!([]), &json!([])), "{value}");
    let counts = ["calls", "approved", "settled", "height", "not_judged"].map(|name| value[name].as_u64().unwrap());
    assert_eq!(counts, [6, 6, 5, 5, 0], "{value}");
    let (status, told) = text_of(&check).await;
    assert!(status == 0 && told.contains("6 approved (5 of them settled)") && told.contains("Nothing contradicts"));

    let lie = history(5).replace("\"seq\":3,", "\"seq\":4,");
    std::fs::write(&path, &lie).unwrap();
    let (status, value) = json_of(&check).await;
    assert_eq!((status, &value["violations"][0]["code"]), (5, &json!("approved_once")), "{value}");
    assert_eq!(value["violations"][0]["id"], json!(operation(4).id.to_string()));
    let (status, told) = text_of(&check).await;
    assert!(status == 5 && told.contains("1 violations") && told.contains("R7, R10 (approved_once)"), "{told}");

    // What nobody asked for is a violation only where nobody else asks.
    let short: String = history(5).lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, short).unwrap();
    assert_eq!(json_of(&check).await.0, 5);
    assert_eq!(json_of(&["check-history", file, "--nodes", &nodes]).await.0, 0);
}

#[tokio::test]
async fn what_only_a_node_knows_that_is_away_is_not_judged() {
    let blocks = chain(5);
    let mut bank = Bank::new().await;
    bank.close("A");
    let b = with_log(&mut bank, "B", &blocks, 6);
    bank.close("C");
    let directory = tempfile::tempdir().unwrap();
    let (path, exported) = (directory.path().join("history.jsonl"), directory.path().join("bank.jsonl"));
    let (file, export) = (path.to_str().unwrap(), exported.to_str().unwrap());
    std::fs::write(&path, history(5)).unwrap();
    let (status, value) = json_of(&["check-history", file, "--nodes", &b.address, "--deadline", "2s"]).await;
    assert_eq!((status, &value["not_heard"], &value["not_judged"]), (0, &json!(["A", "C"]), &json!(1)), "{value}");

    assert_eq!(json_of(&["export", export, "--nodes", &b.address]).await.0, 0);
    drop(b);
    // No node is asked, though one is named.
    let against = ["check-history", file, "--export", export, "--nodes", "127.0.0.1:1"];
    let (status, value) = json_of(&against).await;
    assert_eq!((status, &value["settled"], &value["not_judged"]), (0, &json!(5), &json!(1)), "{value}");
    std::fs::write(&path, history(5).replace("\"height\":2", "\"height\":3")).unwrap();
    let (status, value) = json_of(&against).await;
    assert_eq!((status, &value["violations"][0]["code"]), (5, &json!("told_height")), "{value}");
}

#[tokio::test]
async fn a_wrong_file_is_status_2_and_wrong_chains_are_5() {
    let mut bank = Bank::new().await;
    let a = with_log(&mut bank, "A", &chain(3), 4);
    ["B", "C"].iter().for_each(|name| bank.close(name));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    let file = path.to_str().unwrap();
    let wrong = [
        (history(3).replace("\"seq\":3,", "\"sec\":3,"), "line 3: unknown field `sec`"),
        (history(3) + "{\"client\":\"a\",\"ca", "line 5: EOF while parsing"),
        (String::new(), "is empty"),
    ];
    for (text, expected) in wrong {
        std::fs::write(&path, text).unwrap();
        let (status, value) = json_of(&["check-history", file, "--nodes", &a.address]).await;
        let message = value["error"]["message"].as_str().unwrap();
        assert!(status == 2 && message.contains("history.jsonl") && message.contains(expected), "{message}");
    }
    assert_eq!(json_of(&["check-history", "/nowhere/history.jsonl", "--nodes", &a.address]).await.0, 2);
    std::fs::write(&path, history(3)).unwrap();
    let lost = ["check-history", file, "--lost", "Z", "--nodes", &a.address, "--deadline", "2s"];
    let (status, value) = json_of(&lost).await;
    assert!(status == 2 && value["error"]["message"].as_str().unwrap().contains("no node Z"), "{value}");

    let mut bank = Bank::new().await;
    let a = with_log(&mut bank, "A", &chain(3), 4);
    let b = with_log(&mut bank, "B", &chain_from(9, 3), 4);
    bank.close("C");
    let both = [a.address.as_str(), &b.address].join(",");
    let (status, value) = json_of(&["check-history", file, "--nodes", &both, "--deadline", "2s"]).await;
    let message = value["error"]["message"].as_str().unwrap();
    assert!(status == 5 && message.contains("two histories"), "{message}");

    // One that cannot read its store is damaged, and none at all is nobody to ask.
    let mut bank = Bank::new().await;
    ["A", "B"].iter().for_each(|name| bank.close(name));
    let (welcome, genesis) = (bank.welcome("C"), bank.genesis.clone());
    let c = bank.start_bare("C", move |call| match call.ask {
        Ask::Chain { .. } => vec![failed(FailureCode::Store)],
        Ask::Log { .. } => vec![Act::Tell(Told::Log(vec![]))],
        _ => answer(&welcome, &genesis, &[], call),
    });
    assert_eq!(json_of(&["check-history", file, "--nodes", &c.address, "--deadline", "1s"]).await.0, 5);
    let output = paxbank(&["check-history", file, "--nodes", &crate::node::nowhere().await, "--deadline", "1s"]).await;
    assert_eq!(output.status.code(), Some(3));
}
