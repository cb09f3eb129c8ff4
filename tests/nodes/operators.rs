//! What the people who run nodes do to them: signals, wrong flags, first starts, and reading logs.

use paxos_banking::actors::listener::CLIENTS_MAX;
use paxos_banking::client::{State, Status};
use paxos_banking::ledger::Wait;
use paxos_banking::types::{Amount, TransferId};
use paxos_banking::wire::client::{Ask, CLIENT_PROTOCOL_VERSION, Call, FailureCode, Reply, Told, Transfer};
use paxos_banking::wire::frame::{FrameLimits, read_value, write_frame};
use serde_json::json;
use tokio::net::TcpStream;

use crate::bank::{Bank, NAMES, Stores, account};
use crate::process::{NodeProcess, PATIENCE, fails_to_start, fails_to_start_with};

#[tokio::test]
async fn the_worked_example_through_the_command_line() {
    let bank = Bank::start(Stores::Redis, 100).await;
    let transfers = [
        ("A", "C", "20"),
        ("A", "B", "60"),
        ("B", "A", "70"),
        ("C", "A", "50"),
        ("A", "B", "30"),
        ("B", "C", "50"),
        ("C", "B", "60"),
        ("B", "A", "60"),
    ];
    for (from, to, amount) in transfers {
        let (code, told) = bank.json(&["transfer", from, to, amount]).await;
        assert_eq!((code, &told["outcome"], &told["origin"]), (0, &json!("approved"), &json!(from)), "{told}");
    }
    let (code, told) = bank.json(&["transfer", "C", "A", "1000"]).await;
    assert_eq!((code, &told["outcome"], &told["reason"]["code"]), (1, &json!("refused"), &json!("insufficient_funds")));
    let (code, _) = bank.json(&["settle"]).await;
    assert_eq!(code, 0);
    bank.settled().await;
    for (name, expected) in [("A", 170), ("B", 70), ("C", 60)] {
        let (code, told) = bank.json(&["balance", name]).await;
        assert_eq!((code, &told["spendable"], &told["settled"]), (0, &json!(expected), &json!(expected)), "{told}");
    }
    let (code, chain) = bank.json(&["chain"]).await;
    let blocks = chain["blocks"].as_array().unwrap();
    let entries: usize = blocks.iter().map(|block| block["entries"].as_array().unwrap().len()).sum();
    assert_eq!((code, entries), (0, 8));
    let id = blocks.last().unwrap()["entries"][0]["id"].as_str().unwrap();
    let (code, told) = bank.json(&["outcome", id]).await;
    assert_eq!((code, &told["outcome"], &told["height"]), (0, &json!("approved"), &blocks.last().unwrap()["height"]));
    let (code, told) = bank.json(&["log", "A"]).await;
    assert_eq!((code, told["entries"].as_array().unwrap().len()), (0, 0), "{told}");
    let (code, told) = bank.json(&["open", "alice@A"]).await;
    assert_eq!((code, &told["outcome"]), (0, &json!("approved")), "{told}");
    let (code, told) = bank.json(&["outcome", told["id"].as_str().unwrap()]).await;
    assert_eq!((code, &told["outcome"]), (0, &json!("approved")), "{told}");
    let (code, told) = bank.json(&["transfer", "A", "alice@A", "5"]).await;
    assert_eq!((code, &told["outcome"]), (0, &json!("approved")), "{told}");
    let (code, told) = bank.json(&["balance", "alice@A"]).await;
    assert_eq!((code, &told["spendable"]), (0, &json!(5)), "{told}");
    let (code, told) = bank.json(&["verify"]).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) = bank.json(&["status"]).await;
    assert_eq!(code, 0);
    for name in NAMES {
        let node = &told["nodes"][name];
        assert_eq!((&node["state"], &node["program"]), (&json!("ready"), &json!(env!("CARGO_PKG_VERSION"))), "{told}");
        let now = paxos_banking::wire::wall_clock_ms();
        assert!(node["clock_ms"].as_u64().unwrap().abs_diff(now) < 60_000, "{told}, and it is {now}");
    }
}

#[tokio::test]
async fn a_signal_ends_a_node_in_order_and_its_data_stays() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    let client = bank.client();
    let told = bank.approved(&client, "A", "B", 5, Wait::Local).await;
    for signal in ["-TERM", "-INT"] {
        let node = bank.nodes.remove("A").unwrap();
        node.signal(signal);
        let (status, log) = node.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        bank.run("A").await;
        bank.nodes["A"].logged("ready").await;
        let zombie = bank.nodes["A"].logged("starting").await;
        assert_eq!((&zombie["kind"], &zombie["fresh"]), (&json!("zombie"), &json!(false)));
    }
    bank.settled().await;
    let blocks = bank.chain("C").await;
    let entry = blocks.iter().flat_map(|block| block.runs()).flat_map(|run| run.entries()).next().unwrap();
    assert_eq!(entry.seq, told.seq);
}

#[tokio::test]
async fn a_bank_does_not_begin_before_all_its_nodes_have_met_unless_it_is_forced() {
    let mut bank = Bank::prepared(Stores::Redb, 100).await;
    bank.run("A").await;
    bank.run("B").await;
    for (name, peer) in [("A", "B"), ("B", "A")] {
        let baby = bank.until(name, |status| status.peers_up.contains(&crate::bank::node(peer))).await;
        assert_eq!(baby.state, State::Baby, "C has not been heard");
    }
    let (code, told) = bank.json(&["status"]).await;
    assert_eq!((code, &told["nodes"]["C"]["state"]), (0, &json!("unreachable")), "{told}");
    for name in ["A", "B"] {
        bank.kill(name).await;
        let mut arguments = bank.arguments(name);
        arguments.push("--force-admission".to_owned());
        bank.run_with(name, &arguments).await;
    }
    for name in ["A", "B"] {
        bank.ready(name).await;
    }
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
    bank.run("C").await;
    bank.all_ready().await;
}

#[tokio::test]
async fn one_transfer_can_be_followed_through_the_logs_of_all_nodes() {
    let mut bank = Bank::prepared(Stores::Redb, 100).await;
    bank.level = "debug";
    for name in NAMES {
        bank.run(name).await;
    }
    bank.all_ready().await;
    let id = bank.client().new_id();
    let (code, told) = bank.json(&["transfer", "A", "B", "5", "--id", &id.to_string(), "--wait", "settled"]).await;
    assert_eq!((code, &told["id"]), (0, &json!(id.to_string())), "{told}");
    bank.settled().await;
    for name in NAMES {
        let settled = bank.nodes[name].logged("settled").await;
        assert_eq!(
            (&settled["id"], &settled["origin"], &settled["seq"]),
            (&json!(id.to_string()), &json!("A"), &json!("1"))
        );
    }
    for step in ["asked", "answered"] {
        let event = bank.nodes["A"].logged(step).await;
        assert_eq!(event["span"]["id"], json!(id.to_string()), "{event}");
    }
}

#[tokio::test]
async fn where_all_clients_wait_for_answers_one_more_is_told_so_and_the_nodes_go_on() {
    let mut bank = Bank::start(Stores::Redb, 10_000).await;
    let address = bank.nodes["A"].client_address.clone();
    for name in ["B", "C"] {
        bank.kill(name).await;
    }
    let mut clients = Vec::new();
    let refusal = loop {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let hello = Call { tag: 1, ask: Ask::Hello { version: CLIENT_PROTOCOL_VERSION } };
        drop(write_frame(&mut client, &hello).await);
        let limits = FrameLimits { bytes_max: 1 << 20, idle: PATIENCE, finish: PATIENCE };
        let reply: Reply = read_value(&mut client, &limits).await.unwrap();
        match reply.told {
            Told::Welcome(_) => {
                // Nothing is settled now: it waits.
                let id = TransferId::from(1 + clients.len() as u128);
                let transfers = vec![Transfer(id, account("A"), account("B"), Amount::new(1))];
                let ask = Ask::Transfers { wait: Wait::Settled, within_ms: 240_000, transfers };
                write_frame(&mut client, &Call { tag: 2, ask }).await.unwrap();
                // Calls are taken in order: after this answer the one before is in the works.
                write_frame(&mut client, &Call { tag: 3, ask: Ask::Status }).await.unwrap();
                let reply: Reply = read_value(&mut client, &limits).await.unwrap();
                assert_eq!(reply.tag, 3);
                clients.push(client);
            }
            Told::Failed(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    // Whatever else was connected asked nothing, and gave way.
    assert_eq!((clients.len(), refusal.code), (CLIENTS_MAX, FailureCode::Busy));
    for name in ["B", "C"] {
        bank.run(name).await;
    }
    bank.approved(&bank.client_of("B"), "B", "C", 5, Wait::Settled).await;
    drop(clients);
    bank.approved(&bank.client(), "A", "B", 5, Wait::Settled).await;
}

#[tokio::test]
async fn wrong_flags_are_named_with_what_to_do() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("redb:{}", directory.path().display());
    let peers = ["--peer", "B=127.0.0.1:1", "--peer", "C=127.0.0.1:2"];
    let wrong: [(&[&str], &str); 7] = [
        (&["--peer", "B=127.0.0.1:1"], "a cluster has an odd number of nodes"),
        (&["--peer", "A=127.0.0.1:1", "--peer", "B=127.0.0.1:1"], "names this node itself"),
        (&["--peer", "B=127.0.0.1:1", "--peer", "B=127.0.0.1:2"], "--peer B is given twice"),
        (&["--peer", "B"], "a peer is NAME=HOST:PORT"),
        (&["--opening", "-5"], "is negative"),
        (&["--peer-listen", &busy], "cannot listen there"),
        (&["--client-listen", "0.0.0.0:0"], "--client-advertise"),
    ];
    for (flags, expected) in wrong {
        let mut arguments = vec!["--id", "A", "--store", &store];
        for (flag, value) in [("--peer-listen", "127.0.0.1:0"), ("--client-listen", "127.0.0.1:0")] {
            if !flags.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        if !flags.contains(&"--peer") {
            arguments.extend(peers);
        }
        arguments.extend(flags);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let (code, log) = fails_to_start(&arguments).await;
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains(expected), "{expected:?} is not in {log}");
        assert!(!directory.path().join("A.redb").exists(), "nothing was created");
    }
}

#[tokio::test]
async fn a_filter_of_logs_adds_to_what_is_logged_anyhow_or_is_an_error() {
    let alone: Vec<String> =
        ["--id", "A", "--store", "memory", "--peer-listen", "127.0.0.1:0", "--client-listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .into();
    for level in ["", "some::target=debug", "info"] {
        let node = NodeProcess::start(&alone, level).await;
        node.logged("a bank of one node").await;
        let (status, log) = node.terminate().await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
    let (code, log) = fails_to_start_with(&alone, "paxos_banking=loud").await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("RUST_LOG=paxos_banking=loud is no filter"), "{log}");
}

#[tokio::test]
async fn another_banks_store_and_another_banks_node_are_refused() {
    let mut bank = Bank::start(Stores::Redb, 100).await;
    bank.kill("C").await;
    let mut richer = bank.arguments("C");
    richer.extend(["--opening".to_owned(), "999".to_owned()]);
    let position = richer.iter().position(|argument| argument == "100").unwrap();
    richer.drain(position - 1..=position);
    let (code, log) = fails_to_start(&richer).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("this store belongs to node C of bank"), "{log}");
    assert!(log.contains("300 in all in the beginning"), "what is there: {log}");
    assert!(log.contains("was to start with nodes A, B, C, 2997 in all"), "what was configured: {log}");
    // A slip in the name is another node, for which this directory holds nothing.
    let mut slip = bank.arguments("C");
    let position = slip.iter().position(|argument| argument == "--id").unwrap();
    slip[position + 1] = "D".to_owned();
    slip.extend(["--peer".to_owned(), "C=127.0.0.1:1".to_owned(), "--peer".to_owned(), "E=127.0.0.1:2".to_owned()]);
    let node = NodeProcess::start(&slip, "info").await;
    node.logged("holds the store of C, and none of D").await;
    node.kill().await;
    std::fs::remove_dir_all(bank.store_directory("C")).unwrap();
    bank.run_with("C", &richer).await;
    bank.nodes["C"].logged("belongs to bank").await;
    bank.nodes["A"].logged("belongs to bank").await;
    let told =
        |status: &Status| status.reason.as_ref().is_some_and(|told| told.matches("belongs to bank").count() == 2);
    let reason = bank.until("C", told).await.reason.unwrap();
    assert!(reason.contains("missing: A (") && reason.contains("compare --genesis, --opening and --peer"), "{reason}");
}

#[tokio::test]
async fn a_result_that_nobody_can_read_changes_neither_what_is_done_nor_the_exit_status() {
    let bank = Bank::start(Stores::Redb, 1_000).await;
    let command = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paxbank"));
        command.args(arguments).env("PAXBANK_NODES", bank.addresses());
        command
    };
    for form in ["human", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let refused = command(&["transfer", "A", "B", "5000", "--output", form]).stdout(writer).status().await.unwrap();
        assert_eq!(refused.code(), Some(1), "a refusal, not a success: {form}");
    }
    let file = bank.store_directory("A").join("transfers");
    std::fs::write(&file, "(A, B, 1)\n".repeat(50)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = command(&["run", file.to_str().unwrap()]).stdout(writer).status().await.unwrap();
    assert_eq!(run.code(), Some(0));
    let (_, told) = bank.json(&["balance", "A"]).await;
    assert_eq!(told["spendable"], json!(950), "all of the file");
}

#[tokio::test]
async fn the_id_of_a_run_is_told_before_anything_is_sent_in_every_form() {
    let bank = Bank::start(Stores::Redb, 100).await;
    let file = bank.store_directory("A").join("transfers");
    std::fs::write(&file, "(A, B, 1)").unwrap();
    for form in ["human", "json"] {
        let output = bank.paxbank(&["run", file.to_str().unwrap(), "--output", form]).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("--run-id"), "{form}: {stderr:?}");
    }
}

#[tokio::test]
async fn a_run_writes_a_history_that_holds_and_once_more_under_its_id_too() {
    let bank = Bank::start(Stores::Redb, 100).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (file, first, again) = (path("transfers.txt"), path("first.jsonl"), path("again.jsonl"));
    std::fs::write(&file, "(A, B, 20)\n(B, A, 110)\n(A, C, 500)\n(C, C, 1)\n(C, A, 30)\n").unwrap();
    let (code, told) = bank.json(&["run", &file, "--history", &first, "--run-id", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]).await;
    assert_eq!((code, &told["approved"], &told["refused"]), (0, &json!(3), &json!(2)), "{told}");
    // In another order: the entries are older than this history.
    let (code, told) = bank
        .json(&["run", &file, "--history", &again, "--run-id", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--window", "100"])
        .await;
    assert_eq!((code, &told["approved"]), (0, &json!(3)), "{told}");
    for history in [&first, &again] {
        let (code, told) = bank.json(&["check-history", history, "--complete"]).await;
        assert_eq!((code, &told["approved"], &told["refused"], &told["calls"]), (0, &json!(3), &json!(1), &json!(5)));
    }
    let (code, told) = bank.json(&["run", &file, "--history", &first]).await;
    assert!(code == 2 && told["error"]["message"].as_str().unwrap().contains("is a new file"), "{told}");
}
