//! One transfer after the other, over links that are late and out of order: every answer, every balance and the number
//! of blocks are exactly those of a ten-line bank.

use std::time::Duration;

use paxos_banking::entropy::Entropy;
use paxos_banking::ledger::{Answer, HomeLimits, Request, Wait};
use paxos_banking::node::Timing;
use paxos_banking::types::{AccountId, Amount};

use crate::network::Weather;
use crate::world::{Setup, World, simulate};

/// The whole bank, if there were no network: what is settled, what each node has spent and not settled since.
struct Reference {
    settled: Vec<u64>,
    unsettled: Vec<(usize, usize, u64)>,
    blocks: u64,
}

impl Reference {
    fn spendable(&self, node: usize) -> u64 {
        let spent: u64 = self.unsettled.iter().filter(|(from, ..)| *from == node).map(|(.., amount)| amount).sum();
        self.settled[node] - spent
    }

    fn transfer(&mut self, from: usize, to: usize, amount: u64) -> bool {
        if self.spendable(from) < amount && !self.unsettled.is_empty() {
            for (from, to, amount) in self.unsettled.drain(..) {
                self.settled[from] -= amount;
                self.settled[to] += amount;
            }
            self.blocks += 1;
        }
        let approved = self.spendable(from) >= amount;
        if approved {
            self.unsettled.push((from, to, amount));
        }
        approved
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

async fn compare(seed: u64, transfers: usize) -> (u64, u64, u64) {
    let mut timing = Timing { settle_age: None, ..Timing::default() };
    timing.proposer.grace = None;
    let limits = HomeLimits { settle_at_entries: None, ..HomeLimits::default() };
    let opening = 1 + seed % 40;
    let weather = Weather::REORDERING;
    let world = World::start(Setup { seed, size: 3, opening, more_accounts: &[], weather, timing, limits }).await;
    world.all_ready(Duration::from_secs(30)).await;
    let nodes = world.nodes();
    let mut random = Entropy::from_seed(!seed);
    let mut reference = Reference { settled: vec![opening; 3], unsettled: Vec::new(), blocks: 0 };
    let (mut approved, mut refused) = (0, 0);
    for number in 0..transfers {
        let from = usize::try_from(random.below(3)).unwrap();
        let to = (from + 1 + usize::try_from(random.below(2)).unwrap()) % 3;
        let amount = 1 + random.below(opening + opening / 2);
        let expected = reference.transfer(from, to, amount);
        let request = Request {
            id: (number as u128 + 1).into(),
            from: AccountId::of_node(nodes[from]),
            to: AccountId::of_node(nodes[to]),
            amount: Amount::new(amount),
            wait: Wait::Local,
        };
        let number_asked = world.record.borrow_mut().asked_aside(request);
        let answer = world.node(nodes[from]).unwrap().transfer(request);
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        let Ok(Ok(answer)) = answer else { world.fail(&format!("transfer {number} got no answer")) };
        world.record.borrow_mut().answered(number_asked, answer.clone());
        match (&answer, expected) {
            (Answer::Approved(_), true) => approved += 1,
            (Answer::Refused(_), false) => refused += 1,
            _ => world.fail(&format!("transfer {number}, {request:?}: {answer:?}, the reference says {expected}")),
        }
        // The home has applied every block that its own transfers needed; others may lag by what is on the way.
        let view = world.node(nodes[from]).unwrap().bank().await.unwrap();
        assert!(view.height.0 <= reference.blocks, "transfer {number}: more blocks than needed");
        let own = AccountId::of_node(nodes[from]);
        if view.height.0 == reference.blocks {
            assert_eq!(view.spendable[&own].units(), reference.spendable(from), "transfer {number}");
            let settled: Vec<_> = view.settled.values().map(|amount| amount.units()).collect();
            assert_eq!(settled, reference.settled, "transfer {number}");
        }
    }
    let level = async {
        while world.views(PATIENCE).await.values().any(|view| view.height.0 < reference.blocks) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(10), level).await.is_err() {
        world.fail("not all nodes applied the last block");
    }
    world.judge();
    assert_eq!(
        world.record.borrow().chain.height().0,
        reference.blocks,
        "as many blocks as the reference, and no more"
    );
    for (index, view) in world.views(PATIENCE).await.values().enumerate() {
        let settled: Vec<_> = view.settled.values().map(|amount| amount.units()).collect();
        assert_eq!(settled, reference.settled);
        assert_eq!(view.spendable[&AccountId::of_node(nodes[index])].units(), reference.spendable(index));
    }
    (approved, refused, reference.blocks)
}

#[test]
fn random_triplets_give_exactly_what_a_bank_without_a_network_gives() {
    let mut runs = Vec::new();
    crate::campaign("exact", &crate::seeds(40), |seed| simulate(compare(seed, 60)), |run| runs.push(run));
    let (approved, refused, blocks) =
        runs.iter().fold((0, 0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1, sum.2 + run.2));
    println!("{} runs: {approved} approved, {refused} refused, {blocks} blocks", runs.len());
    if runs.len() >= 20 {
        let least = runs.len() as u64 * 5;
        assert!(approved > least && refused > least && blocks > least, "the runs exercised too little");
    }
}
