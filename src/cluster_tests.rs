use super::*;
use crate::ledger::{Approval, Reason, Wait};
use crate::types::{AccountId, Amount, Seq};

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

#[actix_rt::test]
async fn an_account_that_is_opened_is_known_to_all_nodes_and_used_by_them() {
    let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
    let genesis = Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap();
    let config = ClusterConfig::new(genesis, StoreAddress::Memory);
    let mut cluster = Cluster::start(config, Entropy::from_seed(1), Box::new(|_| true)).await.unwrap();
    cluster.complete().await.unwrap();
    let opening = |id: u128, wait| Opening { id: id.into(), account: account("new@B"), wait };
    let approved = cluster.open(opening(1, Wait::Settled)).await.unwrap();
    let Answer::Approved(Approval { height: Some(height), seq: Seq(1), .. }) = approved else { panic!("{approved:?}") };
    for node in nodes {
        cluster.applied(node, height).await.unwrap();
        let view = cluster.node(node).unwrap().bank().await.unwrap();
        assert_eq!(view.settled[&account("new@B")], Amount::ZERO);
        assert_eq!(view.spendable.contains_key(&account("new@B")), node == nodes[1], "at its home");
    }
    let transfer = |id: u128, from: &str, to: &str| {
        let (from, to, amount) = (account(from), account(to), Amount::new(40));
        cluster.transfer(Request { id: id.into(), from, to, amount, wait: Wait::Settled })
    };
    assert!(matches!(transfer(2, "A", "new@B").await, Ok(Answer::Approved(_))));
    assert!(matches!(transfer(3, "new@B", "C").await, Ok(Answer::Approved(_))), "it asks what it has got by now");
    cluster.kill(nodes[1]).await;
    assert_eq!(cluster.open(opening(1, Wait::Local)).await, Err(NotRunning(nodes[1])));
    cluster.revive(nodes[1]).await.unwrap();
    cluster.ready(nodes[1]).await.unwrap();
    assert_eq!(cluster.open(opening(1, Wait::Local)).await, Ok(approved), "R10");
    let again = cluster.open(opening(4, Wait::Local)).await.unwrap();
    assert!(matches!(again, Answer::Refused(Reason::AccountExists { .. })), "{again:?}");
}

#[actix_rt::test]
async fn whoever_waits_for_a_cluster_misses_nothing_of_its_start() {
    let nodes = ["A", "B", "C"].map(|name| name.parse().unwrap());
    let genesis = Genesis::with_equal_openings(nodes, Amount::new(100)).unwrap();
    for seed in 0..100 {
        let config = ClusterConfig::new(genesis.clone(), StoreAddress::Memory);
        let cluster = Cluster::start(config, Entropy::from_seed(seed), Box::new(|_| true)).await.unwrap();
        let complete = tokio::time::timeout(std::time::Duration::from_secs(30), cluster.complete()).await;
        assert!(matches!(complete, Ok(Ok(()))), "start {seed}: {complete:?}");
    }
}

#[actix_rt::test]
async fn a_cut_is_noticed_by_the_links_and_healed_again() {
    let [a, b, c] = ["A", "B", "C"].map(|name| name.parse().unwrap());
    let genesis = Genesis::with_equal_openings([a, b, c], Amount::new(100)).unwrap();
    let config = ClusterConfig::new(genesis, StoreAddress::Memory);
    let mut cluster = Cluster::start(config, Entropy::from_seed(1), Box::new(|_| true)).await.unwrap();
    cluster.complete().await.unwrap();
    cluster.partition(&[vec![c]]);
    assert!(cluster.hears(a, b) && !cluster.hears(b, c) && cluster.hears(c, c));
    cluster.complete().await.unwrap();
    let collected = cluster.node(a).unwrap().collect().await.unwrap();
    assert_eq!(collected.not_heard, [c].into(), "nobody waits for who is cut off");
    let transfer = |id: u128, from: &str, to: &str, wait| {
        let (from, to, amount) = (account(from), account(to), Amount::new(40));
        cluster.transfer(Request { id: id.into(), from, to, amount, wait })
    };
    let settled = transfer(1, "A", "C", Wait::Settled).await.unwrap();
    let Answer::Approved(Approval { height: Some(height), .. }) = settled else { panic!("{settled:?}") };
    assert!(matches!(transfer(2, "C", "A", Wait::Local).await, Ok(Answer::Approved(_))), "each home approves alone");
    assert_eq!(cluster.node(c).unwrap().bank().await.unwrap().height, Height(0));
    cluster.kill(c).await;
    cluster.revive(c).await.unwrap();
    cluster.partition(&[]);
    cluster.complete().await.unwrap();
    cluster.applied(c, height).await.unwrap();
    assert!(cluster.node(a).unwrap().collect().await.unwrap().not_heard.is_empty());
}
