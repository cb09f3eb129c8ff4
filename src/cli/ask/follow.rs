//! `paxbank follow`: settled blocks as they come.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::feed::{Feed, Trouble};
use super::{Nodes, span};
use crate::cli::signals::Signals;
use crate::cli::{Failure, Finished, count, say};
use crate::client::Client;
use crate::render::block_json;
use crate::types::Height;

const EXAMPLES: &str = "Examples:
  paxbank follow                       from now on, until Ctrl-C
  paxbank follow --from 1              everything
  paxbank follow --from 1 --count 10 | jq .entries";

const NOTES: &str = "\
Each block is one line of JSON, in the form that paxbank chain --output json gives it, written at once. No height is
left out, none comes twice, and each block is checked to follow on the one before. Where a node goes away, others
are asked; where all are away, it goes on as soon as one is back. That is told on stderr.

Exit status: 0 after Ctrl-C, SIGTERM or --count blocks, and where nobody reads its output any more; 2 wrong use, 3
no node reachable at the start, 5 a block does not follow on the one before.";

/// Longest pause between two questions while no node answers.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_MAX: Duration = Duration::from_secs(60);
/// How long to look for a node at the start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Prints settled blocks as they come, one line of JSON each.
#[derive(Args)]
#[command(before_long_help = EXAMPLES, after_long_help = NOTES)]
pub(in crate::cli) struct Follow {
    /// The first block [default: the one after the end of the longest chain].
    #[arg(long, value_name = "HEIGHT", value_parser = count::<NonZeroU64>)]
    from: Option<NonZeroU64>,
    /// How many blocks to print [default: no end].
    #[arg(long, value_name = "COUNT", value_parser = count::<NonZeroU64>)]
    count: Option<NonZeroU64>,
    /// How long to wait before asking again, where there was nothing new: 10ms to 1m.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = every)]
    every: Duration,
    #[command(flatten)]
    nodes: Nodes,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = span(text)?;
    match every {
        every if every < EVERY_MIN => Err("that would be a flood of questions; give 10ms or more".to_owned()),
        every if every > EVERY_MAX => Err("that is long for blocks as they come; give 1m or less".to_owned()),
        every => Ok(every),
    }
}

impl Follow {
    pub(super) async fn run(self) -> Result<Finished, Failure> {
        let client = self.nodes.client()?;
        let mut signals = Signals::new()?;
        tokio::select! {
            biased;
            // A line is written between two awaits, so that it is whole or not begun.
            _ = signals.next() => {}
            followed = self.follow(client) => followed?,
        }
        Ok(Finished { report: None, status: 0 })
    }

    async fn follow(&self, client: Client) -> Result<(), Failure> {
        let (mut feed, first) = self.begin(client).await?;
        let (mut left, mut pause, mut alone) = (self.count.map(NonZeroU64::get), self.every, false);
        loop {
            let blocks = match feed.poll(None).await {
                Ok(blocks) => blocks,
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(error)) => {
                    if !std::mem::replace(&mut alone, true) {
                        eprintln!("paxbank: waiting for a node to go on with block {}: {error}", feed.next());
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX.max(self.every));
                    continue;
                }
            };
            pause = self.every;
            if std::mem::replace(&mut alone, false) {
                eprintln!("paxbank: going on with block {}", feed.next());
            }
            if blocks.is_empty() {
                sleep(pause).await;
            }
            for block in blocks.iter() {
                feed.step(block)?;
                if block.height() < first {
                    continue;
                }
                say(&block_json(block).to_string());
                left = left.map(|left| left - 1);
                if left == Some(0) {
                    return Ok(());
                }
                // A signal is noticed between two lines, however many there are.
                yield_now().await;
            }
        }
    }

    /// The walk, and the first block to print.
    async fn begin(&self, client: Client) -> Result<(Feed, Height), Failure> {
        let (next, tip, first) = match self.from.map(NonZeroU64::get) {
            Some(first) => {
                client.nodes(START_WITHIN).await?;
                // The block before the first is had too: what comes must follow on it.
                match first {
                    1 => (Height(1), client.cluster(), Height(1)),
                    first => (Height(first - 1), None, Height(first)),
                }
            }
            None => {
                let report = client.status().await?;
                let ends = report.nodes.values().flatten().map(|status| (status.height, status.tip));
                let (height, tip) = ends.max_by_key(|(height, _)| *height).unwrap_or_default();
                let next = Height(height.0.saturating_add(1));
                (next, Some(tip), next)
            }
        };
        Ok((Feed::new(client, next, tip), first))
    }
}
