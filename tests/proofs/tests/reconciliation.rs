//! Reconciliation against random chains and random peers: they lag, name heights that they do not have, deliver gaps,
//! nothing, or what was not asked for; answers are lost, late and doubled; links go down and up.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use paxos_banking::effect::Effect;
use paxos_banking::ledger::{Action, Bank, Block, Genesis, Operation, Run};
use paxos_banking::paxos::{BlocksRequest, BlocksResponse, Learner, LearnerAction, Message, ReconcileAck, SentBlock};
use paxos_banking::reconcile::{Reconcile, ReconcileAction, ReconcileTimer, Standing};
use paxos_banking::types::{AccountId, Amount, Hash, Height, Incarnation, NodeId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const ME: &str = "C";

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A peer answers the oldest question that it has not answered, or lets it wait and answers another.
    Answers {
        peer: usize,
        which: usize,
        how: How,
    },
    /// What a peer said before comes again.
    Again {
        which: usize,
    },
    Link {
        peer: usize,
        up: bool,
    },
    Timer {
        give_up: bool,
    },
    /// A peer settles a block, and its COMMIT or HELLO tells of it, or is lost.
    Grows {
        peer: usize,
        tells: bool,
    },
}

/// How a peer answers.
#[derive(Clone, Debug)]
enum How {
    Well,
    Not,
    /// With a height that is off by this.
    Lying(i8),
    /// With these of the blocks.
    Gaps(Vec<Index>),
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Well),
        2 => Just(How::Not),
        1 => (-5..5i8).prop_map(How::Lying),
        1 => vec(any::<Index>(), 0..4).prop_map(How::Gaps),
    ]
}

fn event(peers: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..peers, any::<usize>(), how()).prop_map(|(peer, which, how)| Event::Answers { peer, which, how }),
        1 => any::<usize>().prop_map(|which| Event::Again { which }),
        2 => (0..peers, any::<bool>()).prop_map(|(peer, up)| Event::Link { peer, up }),
        2 => prop::bool::weighted(0.2).prop_map(|give_up| Event::Timer { give_up }),
        1 => (0..peers, any::<bool>()).prop_map(|(peer, tells)| Event::Grows { peer, tells }),
    ]
}

/// Blocks that follow on each other, as many as asked for.
fn chain(length: usize) -> (Genesis, Vec<Arc<Block>>) {
    let names: Vec<NodeId> = ["A", "B", "C", "D", "E"].iter().map(|name| name.parse().unwrap()).collect();
    let genesis = Genesis::with_equal_openings(names.iter().copied(), Amount::new(1_000)).unwrap();
    let mut bank = Bank::new(&genesis);
    let blocks = (0..length).map(|index| {
        let origin = names[index % names.len()];
        let (from, to) = (AccountId::of_node(origin), AccountId::of_node(names[(index + 1) % names.len()]));
        let action = Action::Transfer { from, to, amount: Amount::new(1) };
        let operations = vec![Operation { id: (index as u128).into(), action }];
        let runs = vec![Run { origin, first: bank.watermark(origin).next(), operations }];
        let block = Block::new(bank.height().next(), bank.tip(), bank.state(), runs).unwrap();
        bank.advance(bank.check(&block).unwrap());
        Arc::new(block)
    });
    let blocks = blocks.collect();
    (genesis, blocks)
}

/// The node that catches up, between peers that hold beginnings of one chain.
struct World {
    bank: Bank,
    reconcile: Reconcile,
    learner: Learner,
    chain: Vec<Arc<Block>>,
    tips: Vec<Hash>,
    names: Vec<NodeId>,
    /// Up to which block each peer has the chain.
    heights: Vec<usize>,
    up: Vec<bool>,
    /// What each peer was asked and has not answered.
    asked: Vec<Vec<Message>>,
    /// What was answered, to be doubled.
    said: Vec<(usize, Message)>,
    /// The greatest height that each peer named since it was last asked.
    named: BTreeMap<NodeId, Height>,
    retry: bool,
}

impl World {
    fn new(own: usize, heights: Vec<usize>) -> Self {
        let (genesis, chain) = chain(40);
        let names: Vec<_> = genesis.nodes().iter().copied().filter(|node| node.as_str() != ME).collect();
        let mut bank = Bank::new(&genesis);
        for block in &chain[..own] {
            bank.advance(bank.check(block).unwrap());
        }
        let tips = [genesis.id()].into_iter().chain(chain.iter().map(|block| block.hash())).collect();
        let (height, tip) = (bank.height(), bank.tip());
        let reconcile = Reconcile::new(Incarnation(1), names.iter().copied(), 3, true, false, (height, tip));
        let learner = Learner::new(names.iter().copied(), 3, height, tip, None);
        let peers = names.len();
        let (up, asked) = (vec![false; peers], vec![Vec::new(); peers]);
        let (said, named) = (Vec::new(), BTreeMap::new());
        let mut world =
            Self { bank, reconcile, learner, chain, tips, names, heights, up, asked, said, named, retry: false };
        let effects = world.reconcile.start();
        world.run(effects);
        for peer in 0..peers {
            world.link(peer, true);
        }
        world
    }

    fn link(&mut self, peer: usize, up: bool) {
        self.up[peer] = up;
        // What was under way on it is lost.
        self.asked[peer].clear();
        let effects = self.reconcile.on_link(self.names[peer], up);
        self.run(effects);
    }

    fn run(&mut self, effects: Vec<Effect<ReconcileAction>>) {
        for effect in effects {
            let Effect::Act(action) = effect else { panic!("nothing to write, no reason to stop: {effect:?}") };
            match action {
                ReconcileAction::Send(to, message) => self.ask(to, message),
                ReconcileAction::Deliver(blocks) => {
                    let actions = self.learner.on_fetched(blocks);
                    self.learn(actions);
                }
                ReconcileAction::Compare(peer, height, tip) => {
                    let actions = self.learner.compare(peer, height, tip);
                    self.learn(actions);
                }
                ReconcileAction::Start(ReconcileTimer::Retry) => self.retry = true,
                ReconcileAction::Start(ReconcileTimer::GiveUp) | ReconcileAction::Ready => {}
                ReconcileAction::Serve(..) | ReconcileAction::Admitted => panic!("nobody asked for {action:?}"),
            }
        }
    }

    /// Whatever is asked is within bounds.
    fn ask(&mut self, to: NodeId, message: Message) {
        let peer = self.names.iter().position(|name| *name == to).unwrap();
        assert!(self.up[peer], "{to} is asked, and its link is down");
        match &message {
            Message::ReconcileRequest(_) => {
                self.named.remove(&to);
            }
            Message::BlocksRequest(BlocksRequest { from, to: last }) => {
                assert_eq!(*from, self.bank.height().next(), "from the own height on");
                assert!(from <= last && Some(last) <= self.named.get(&to), "{to} named {:?}", self.named.get(&to));
            }
            other => panic!("{other:?}"),
        }
        self.asked[peer].push(message);
    }

    fn learn(&mut self, actions: Vec<LearnerAction>) {
        for action in actions {
            let LearnerAction::Apply(block, _) = action else { panic!("{action:?}") };
            // The check of the Ledger: whatever is handed to it follows.
            let delta = self.bank.check(&block).unwrap();
            self.bank.advance(delta);
            let (height, tip) = (block.height(), block.hash());
            assert_eq!(tip, self.tips[usize::try_from(height.0).unwrap()]);
            let actions = self.learner.on_applied(&block);
            self.learn(actions);
            let effects = self.reconcile.on_applied(height, tip);
            self.run(effects);
        }
    }

    fn answer(&mut self, peer: usize, which: usize, how: &How) {
        if self.asked[peer].is_empty() {
            return;
        }
        let index = which % self.asked[peer].len();
        let message = self.asked[peer].remove(index);
        let height = self.heights[peer];
        let answer = match (message, how) {
            (_, How::Not) => return,
            (Message::ReconcileRequest(_), how) => {
                let off = if let How::Lying(off) = how { isize::from(*off) } else { 0 };
                let named = height.saturating_add_signed(off);
                let tip = self.tips.get(named).copied().unwrap_or(Hash::ZERO);
                Message::ReconcileAck(ReconcileAck { held: vec![(Height(0), Height(named as u64))], tip })
            }
            (Message::BlocksRequest(request), how) => {
                // As many as a frame holds; nothing where it has nothing of it.
                let (from, to) = (usize::try_from(request.from.0).unwrap(), usize::try_from(request.to.0).unwrap());
                let last = to.min(height).min(from + 2);
                let blocks = if from <= last { &self.chain[from - 1..last] } else { &[] };
                let blocks = match how {
                    How::Gaps(picked) => picked.iter().map(|index| index.get(&self.chain).clone()).collect(),
                    _ if blocks.is_empty() => return,
                    _ => blocks.to_vec(),
                };
                Message::BlocksResponse(BlocksResponse { blocks: blocks.into_iter().map(SentBlock::Known).collect() })
            }
            (other, _) => panic!("{other:?}"),
        };
        self.said.push((peer, answer.clone()));
        self.hear(peer, &answer);
    }

    fn hear(&mut self, peer: usize, message: &Message) {
        let from = self.names[peer];
        let effects = match message {
            Message::ReconcileAck(ack) => {
                let named = self.named.entry(from).or_default();
                *named = ack.height().unwrap().max(*named);
                self.reconcile.on_ack(from, ack)
            }
            Message::BlocksResponse(response) => self.reconcile.on_blocks(from, response.clone()),
            other => panic!("{other:?}"),
        };
        self.run(effects);
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Answers { peer, which, how } => self.answer(*peer, *which, how),
            Event::Again { which } if !self.said.is_empty() => {
                let (peer, message) = self.said[which % self.said.len()].clone();
                self.hear(peer, &message);
            }
            Event::Again { .. } => {}
            Event::Link { peer, up } => self.link(*peer, *up),
            Event::Timer { give_up: true } => {
                let effects = self.reconcile.on_timer(ReconcileTimer::GiveUp);
                self.run(effects);
            }
            Event::Timer { give_up: false } => self.time_out(),
            Event::Grows { peer, tells } => {
                let longest = self.heights.iter().max().copied().unwrap();
                self.heights[*peer] = (self.heights[*peer] + 1).min(longest.max(30) + 1).min(self.chain.len());
                if *tells {
                    let effects = self.reconcile.on_gap(Height(self.heights[*peer] as u64));
                    self.run(effects);
                }
            }
        }
    }

    fn time_out(&mut self) {
        if std::mem::take(&mut self.retry) {
            let effects = self.reconcile.on_timer(ReconcileTimer::Retry);
            self.run(effects);
        }
    }

    /// From now on all links work, and all peers answer well.
    fn heal(&mut self) {
        self.said.clear();
        for peer in 0..self.names.len() {
            self.link(peer, false);
            self.link(peer, true);
            // HELLO tells of the height.
            let effects = self.reconcile.on_gap(Height(self.heights[peer] as u64));
            self.run(effects);
        }
        for _ in 0..60 {
            while let Some(peer) = (0..self.names.len()).find(|peer| !self.asked[*peer].is_empty()) {
                self.answer(peer, 0, &How::Well);
            }
            self.time_out();
        }
    }
}

/// Where the node begins, how long the peers' chains are, and what happens.
fn story() -> impl Strategy<Value = (usize, Vec<usize>, Vec<Event>)> {
    (0..10usize, vec(0..30usize, 4), vec(event(4), 0..80))
}

proptest! {
    #[test]
    fn it_ends_with_the_longest_chain_whatever_went_wrong_before((own, heights, events) in story()) {
        let mut world = World::new(own, heights);
        for event in &events {
            world.happens(event);
            prop_assert!(world.reconcile.standing() >= Standing::Zombie);
        }
        world.heal();
        let longest = world.heights.iter().copied().max().unwrap().max(own) as u64;
        prop_assert!(world.bank.height().0 >= longest, "{} of {longest}", world.bank.height());
        prop_assert_eq!(world.reconcile.standing(), Standing::Ready);
        prop_assert_eq!(world.bank.tip(), world.tips[usize::try_from(world.bank.height().0).unwrap()]);
    }

    #[test]
    fn without_faults_it_asks_each_peer_once_and_fetches_each_block_once(own in 0..10usize, heights in vec(0..30usize, 4)) {
        let mut world = World::new(own, heights);
        let longest = world.heights.iter().copied().max().unwrap();
        let (mut asked, mut fetched) = (0, Vec::new());
        while let Some(peer) = (0..4).find(|peer| !world.asked[*peer].is_empty()) {
            match &world.asked[peer][0] {
                Message::ReconcileRequest(_) => asked += 1,
                Message::BlocksRequest(request) => fetched.push(request.from),
                other => panic!("{other:?}"),
            }
            world.answer(peer, 0, &How::Well);
        }
        prop_assert_eq!(world.bank.height().0, longest.max(own) as u64);
        prop_assert_eq!(world.reconcile.standing(), Standing::Ready);
        prop_assert!(fetched.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", fetched);
        prop_assert!(asked >= 4);
    }
}
