//! The benchmark as a command: small, but with real nodes, and everything that it claims is looked at.

use serde_json::Value;

use crate::commands::{json_of, paxbank};

/// What it measured, with a second and few accounts for each.
async fn bench(arguments: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let common = ["bench", "--seconds", "1", "--accounts", "50", "--directory", place];
    let (status, value) = json_of(&[&common, arguments].concat()).await;
    assert_eq!(status, 0, "{value}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "nothing stays behind");
    value["measured"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_load_is_measured_against_its_floor_and_verified_after_a_kill() {
    let sizes = ["--batch", "20", "--connections", "3", "--verify", "--kill"];
    for workload in ["local", "settled"] {
        let measured = bench(&[&[workload], &sizes[..]].concat()).await;
        let [load, verified] = &measured[..] else { panic!("{measured:?}") };
        let number =
            |name: &str| load.pointer(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name}: {load}"));
        assert!(number("/transfers") >= 20.0 && number("/transfers_per_second") > 0.0, "{load}");
        assert!(number("/call_us/p50") <= number("/call_us/p99") && number("/call_us/p99") <= number("/call_us/max"));
        assert!(number("/floor/fdatasync_us") > 0.0 && number("/floor/round_trip_us") > 0.0);
        assert!(number("/ratio_to_floor") > 0.0 && number("/per_transfer/wire_bytes") > 40.0, "{load}");
        assert!(number("/memory_bytes_largest_node") > 1e6);
        let syncs = number("/per_transfer/syncs");
        assert!(syncs > 0.0 && syncs < 1.0, "calls of twenty share their writes: {load}");
        assert_eq!((&verified["verified"], &verified["killed"]), (&true.into(), &true.into()));
        assert!(verified["acknowledged"].as_f64() >= Some(number("/transfers")), "{verified}");
    }
}

#[tokio::test]
async fn a_caller_beside_a_load_is_measured_by_itself_and_what_it_was_told_is_verified() {
    let measured = bench(&["local", "--batch", "2000", "--connections", "2", "--beside", "--verify"]).await;
    let [load, beside, verified] = &measured[..] else { panic!("{measured:?}") };
    assert_eq!((&beside["workload"], &beside["of"]), (&"beside".into(), &"local".into()));
    let transfers = |of: &Value| of["transfers"].as_u64().unwrap();
    assert!(transfers(load) >= 2_000 && transfers(beside) > 0 && beside["call_us"]["p99_9"].as_u64() > Some(0));
    assert_eq!(verified["verified"], true);
    assert!(verified["acknowledged"].as_u64() >= Some(transfers(load) + transfers(beside)), "{verified}");
}

#[tokio::test]
async fn rounds_restarts_and_catching_up_are_measured() {
    let workloads = ["shortage", "takeover", "restart", "catch-up", "growth"];
    let measured = bench(&[&workloads, &["--transfers", "20000", "--verify"][..]].concat()).await;
    let names: Vec<_> = measured.iter().filter_map(|one| one["workload"].as_str()).collect();
    assert_eq!(names, workloads);
    assert!(measured[0]["transfers"].as_u64() > Some(0) && measured[1]["transfers"].as_u64() > Some(0));
    let filled: Vec<_> = measured.iter().filter(|one| one["transfers"].as_u64() >= Some(20_000)).collect();
    assert_eq!(filled.len(), 3, "restart, catch-up and growth have so many behind them");
    assert_eq!(measured.iter().filter(|one| one["verified"] == true).count(), 3);
    let parts = filled[2]["cpu_us_each"].as_array().unwrap();
    assert!(parts.len() == 10 && filled[2]["disk_bytes"].as_u64() > Some(20_000), "{:?}", filled[2]);
}

#[tokio::test]
async fn a_redis_is_measured_with_an_archive_and_without() {
    for store in ["redis", "archive"] {
        let measured = bench(&["restart", "--store", store, "--transfers", "20000", "--verify"]).await;
        assert_eq!((&measured[0]["store"], &measured[1]["verified"]), (&store.into(), &true.into()));
        assert!(measured[0]["redis_bytes"].as_u64() > Some(1 << 20), "{measured:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_measured_is_wrong_use() {
    let wrong: [(&[&str], &str); 4] = [
        (&["bench", "local", "--batch", "5"], "--connections"),
        (&["bench", "shortage", "--processes", "1"], "--processes 3"),
        (&["bench", "local", "--kill"], "--verify"),
        (&["bench", "local", "--directory", "/nowhere/at/all"], "/nowhere/at/all"),
    ];
    for (arguments, expected) in wrong {
        let output = paxbank(arguments).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}
