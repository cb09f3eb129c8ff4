//! Blocks as they come: none left out, none twice, whichever node tells them.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_banking::ledger::Block;
use paxos_banking::types::Height;
use paxos_banking::wire::client::{Ask, Call, Told};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::commands::{json_of, paxbank};
use crate::node::{Act, Bank, status};
use crate::reads::{chain, chain_from, page};

const PATIENCE: Duration = Duration::from_secs(60);

/// A `paxbank follow` that runs.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
        command.arg("follow").args(arguments).args(["--every", "10ms"]).env_remove("PAXBANK_NODES").kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line, a block; none at the end.
    async fn next(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("it comes in bounded time").unwrap();
        line.map(|line| serde_json::from_str(&line).unwrap())
    }

    async fn heights<const N: usize>(&mut self) -> [u64; N] {
        let mut heights = [0; N];
        for height in &mut heights {
            *height = self.next().await.unwrap()["height"].as_u64().unwrap();
        }
        heights
    }

    async fn ended(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends in bounded time").unwrap().code()
    }
}

/// A node whose chain is as long as `height` says.
fn growing(blocks: &[Arc<Block>], height: &Arc<AtomicU64>) -> impl FnMut(&Call) -> Vec<Act> + Send + 'static {
    let (blocks, height) = (blocks.to_vec(), height.clone());
    move |call| vec![page(&blocks[..height.load(Ordering::Relaxed) as usize], call)]
}

#[tokio::test]
async fn blocks_come_in_order_through_the_loss_of_a_node_and_as_the_chain_command_shows_them() {
    let mut bank = Bank::new().await;
    let blocks = chain(7);
    let height = Arc::new(AtomicU64::new(3));
    let a = bank.start("A", growing(&blocks, &height));
    let b = bank.start("B", growing(&blocks, &height));
    let nodes = format!("{},{}", a.address, b.address);
    let mut following = Following::start(&["--from", "1", "--nodes", &nodes, "--count", "7"]);
    assert_eq!(following.heights().await, [1, 2, 3]);
    height.store(5, Ordering::Relaxed);
    assert_eq!(following.heights().await, [4, 5]);
    drop(a);
    height.store(7, Ordering::Relaxed);
    assert_eq!(following.heights().await, [6]);
    let last = following.next().await.unwrap();
    let (_, chain) = json_of(&["chain", "--from", "7", "--nodes", &nodes]).await;
    assert_eq!(last, chain["blocks"][0]);
    assert_eq!((following.next().await, following.ended().await), (None, Some(0)));
}

#[tokio::test]
async fn all_nodes_may_be_away_for_a_while_and_one_that_hangs_or_is_behind_is_left() {
    let mut bank = Bank::new().await;
    let blocks = chain(6);
    let (front, behind) = (Arc::new(AtomicU64::new(2)), Arc::new(AtomicU64::new(2)));
    let away = Arc::new(Mutex::new(false));
    let is_away = away.clone();
    let mut tell = growing(&blocks, &behind);
    let a = bank.start("A", move |call| if *is_away.lock().unwrap() { vec![Act::Close] } else { tell(call) });
    let welcome = bank.welcome("B");
    let (mut tell, height) = (growing(&blocks, &front), front.clone());
    let b = bank.start_bare("B", move |call| match call.ask {
        Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
        Ask::Status => {
            let mut status = status(welcome.node, &welcome);
            status.height = Height(height.load(Ordering::Relaxed));
            vec![Act::Tell(Told::Status(status))]
        }
        _ => tell(call),
    });
    bank.close("C");
    let nodes = format!("{},{}", a.address, b.address);
    let mut following = Following::start(&["--from", "2", "--nodes", &nodes]);
    assert_eq!(following.heights().await, [2], "the one before is fetched, and not shown");
    // A answers, and has nothing new: only B goes on.
    front.store(4, Ordering::Relaxed);
    assert_eq!(following.heights().await, [3, 4]);
    drop(b);
    *away.lock().unwrap() = true;
    behind.store(6, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    *away.lock().unwrap() = false;
    assert_eq!(following.heights().await, [5, 6]);
    let pid = following.child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!((following.next().await, following.ended().await), (None, Some(0)));
}

#[tokio::test]
async fn it_begins_after_the_end_of_the_longest_chain_and_a_block_that_does_not_follow_is_an_error() {
    let mut bank = Bank::new().await;
    let (blocks, other) = (chain(5), chain_from(9, 5));
    let forged = [&blocks[..3], &other[3..]].concat();
    let height = Arc::new(AtomicU64::new(2));
    let welcome = bank.welcome("A");
    let (mut tell, end) = (growing(&forged, &height), (Height(2), blocks[1].hash()));
    let a = bank.start_bare("A", move |call| match call.ask {
        Ask::Hello { .. } => vec![Act::Tell(Told::Welcome(welcome.clone()))],
        Ask::Status => {
            let mut status = status(welcome.node, &welcome);
            (status.height, status.tip) = end;
            vec![Act::Tell(Told::Status(status))]
        }
        _ => tell(call),
    });
    let calls = a.calls.clone();
    let mut following = Following::start(&["--nodes", &a.address]);
    while !calls.lock().unwrap().iter().any(|ask| matches!(ask, Ask::Chain { .. })) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    height.store(5, Ordering::Relaxed);
    assert_eq!(following.heights().await, [3]);
    assert_eq!((following.next().await, following.ended().await), (None, Some(5)));
    let output = paxbank(&["follow", "--from", "4", "--nodes", &a.address]).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), &b""[..]));
    assert!(text.contains("block 4 of node A does not follow on the one before"), "{text}");
}

#[tokio::test]
async fn it_ends_quietly_where_nobody_reads_it() {
    let mut bank = Bank::new().await;
    let blocks = chain(5);
    let home = bank.start("A", move |call| vec![page(&blocks, call)]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
    command.args(["follow", "--from", "1", "--nodes", &home.address]).stdout(writer).stderr(Stdio::piped());
    let output = timeout(PATIENCE, command.spawn().unwrap().wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn wrong_intervals_and_heights_are_named() {
    let wrong = [
        (["--every", "1ms"], "give 10ms or more"),
        (["--every", "2m"], "give 1m or less"),
        (["--from", "0"], "1 or more"),
    ];
    for (arguments, expected) in wrong {
        let (status, value) = json_of(&[&["follow", "--nodes", "localhost:1"][..], &arguments].concat()).await;
        let message = value["error"]["message"].as_str().unwrap();
        assert!(status == 2 && message.contains(expected), "{message}");
    }
}
