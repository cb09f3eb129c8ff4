//! The words of the language, and how they are explained.

use super::Grammar;

/// A command's word, and what to tell of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Lines that can be typed as they are, each with a comment.
    pub examples: &'static [&'static str],
    /// Whether it needs nodes that are all in this process.
    pub(super) cluster: bool,
}

const fn word(name: &'static str, usage: &'static str, about: &'static str, examples: &'static [&'static str]) -> Word {
    Word { name, usage, about, examples, cluster: false }
}

const fn of_cluster(
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    examples: &'static [&'static str],
) -> Word {
    Word { cluster: true, ..word(name, usage, about, examples) }
}

/// All words, in the order in which they are explained.
static WORDS: [Word; 15] = [
    word(
        "transfer",
        "transfer FROM TO AMOUNT [settled]",
        "moves money; the home of FROM decides",
        &[
            "transfer A B 30             # an account is NAME@NODE; A stands for A@A",
            "transfer A B 30 settled     # and waits for the block that holds it",
            "A B 30                      # the same as the first",
            "(A, B, 30)                  # the same, as files of transfers have it",
        ],
    ),
    word("open", "open NAME@NODE", "opens an account with nothing on it, and waits for its block", &["open alice@A"]),
    word("balance", "balance ACCOUNT", "tells what an account has", &["balance A", "balance alice@A"]),
    word("log", "log NODE", "shows what a node approved and no block holds yet", &["log A"]),
    word(
        "chain",
        "chain [FROM [TO]]",
        "shows blocks, from one height to another",
        &["chain           # all blocks", "chain 3         # from block 3 on", "chain 3 5       # blocks 3 to 5"],
    ),
    word(
        "outcome",
        "outcome ID",
        "tells what became of a transfer or an opening, by its id",
        &["outcome 01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    ),
    word("settle", "settle", "makes a block now of what is unsettled", &["settle"]),
    word("status", "status", "tells how the nodes are", &["status"]),
    word("verify", "verify", "computes every node's chain again, and compares them", &["verify"]),
    of_cluster("kill", "kill NODE", "crashes a node: only its store is left", &["kill C"]),
    of_cluster("revive", "revive NODE", "starts a killed node on its store", &["revive C"]),
    of_cluster(
        "partition",
        "partition NODE ... | NODE ... [| ...]",
        "cuts the nodes into groups that do not hear each other",
        &[
            "partition A | B C       # nodes that are not named are a group of their own",
            "partition A             # the same",
        ],
    ),
    of_cluster("heal", "heal", "ends the cut", &["heal"]),
    word("help", "help [COMMAND]", "explains a command, or lists all", &["help", "help transfer"]),
    word("quit", "quit", "ends the session, as Ctrl-D and exit do", &["quit"]),
];

impl Grammar {
    /// The words that can be said.
    pub fn words(self) -> impl Iterator<Item = &'static Word> {
        WORDS.iter().filter(move |word| self == Self::Cluster || !word.cluster)
    }

    /// The word of that name.
    pub(super) fn word(self, name: &str) -> Option<&'static Word> {
        self.words().find(|word| word.name == name)
    }
}

/// The word of that name, wherever it can be said.
pub(super) fn anywhere(name: &str) -> Option<&'static Word> {
    Grammar::Cluster.word(name)
}

/// What to tell whoever asks for help: of one word, or of all.
pub fn help(word: Option<&Word>, grammar: Grammar) -> String {
    let Some(word) = word else { return overview(grammar) };
    let examples: String = word.examples.iter().map(|example| format!("\n  {example}")).collect();
    format!("{}: {}\nExamples:{examples}", word.usage, word.about)
}

fn overview(grammar: Grammar) -> String {
    let width = grammar.words().map(|word| word.usage.len()).max().unwrap_or_default();
    let line = |word: &Word| format!("{:<width$}  {}", word.usage, word.about);
    let mut lines: Vec<_> = grammar.words().map(line).collect();
    lines.push("A transfer may be written without its word: A B 30, or (A, B, 30).".to_owned());
    lines.push("Several commands fit on a line with ; between them; # begins a comment.".to_owned());
    lines.push("Examples:".to_owned());
    let examples = ["transfer A B 30; balance B", "open alice@A", "A alice@A 5 settled", "chain", "help transfer"];
    lines.extend(examples.map(|example| format!("  {example}")));
    lines.join("\n")
}
