//! Every form that is understood, and what is told where one is not.

use super::super::{Command, Grammar};
use super::{parse, parse_each};
use crate::shell::help;
use crate::triplets::Triplet;
use crate::types::{Amount, Height};

fn transfer(from: &str, to: &str, amount: u64, settled: bool) -> Command {
    let transfer = Triplet { from: from.parse().unwrap(), to: to.parse().unwrap(), amount: Amount::new(amount) };
    Command::Transfer { transfer, settled }
}

fn one(line: &str) -> Command {
    let mut commands = parse(line, Grammar::Cluster).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert_eq!(commands.len(), 1, "{line:?}");
    commands.remove(0)
}

fn wrong(line: &str) -> String {
    parse(line, Grammar::Bank).unwrap_err().to_string()
}

#[test]
fn a_transfer_has_three_forms() {
    for line in ["transfer A bob@B 30", "A bob@B 30", "(A, bob@B, 30)", "  ( A ,bob@B,30 )  # why"] {
        assert_eq!(one(line), transfer("A", "bob@B", 30, false), "{line:?}");
    }
    for line in ["transfer A B 30 settled", "A B 30 settled", "(A, B, 30) settled", "(A,B,30)settled"] {
        assert_eq!(one(line), transfer("A", "B", 30, true), "{line:?}");
    }
}

#[test]
fn every_other_command_is_its_word_and_what_it_takes() {
    let (a, b, c) = ("A".parse().unwrap(), "B".parse().unwrap(), "C".parse().unwrap());
    assert_eq!(one("open x@A"), Command::Open("x@A".parse().unwrap()));
    assert_eq!(one("balance A"), Command::Balance("A".parse().unwrap()));
    assert_eq!(one("log B"), Command::Log(b));
    assert_eq!(one("chain"), Command::Chain { from: Height(0), to: None });
    assert_eq!(one("chain 3"), Command::Chain { from: Height(3), to: None });
    assert_eq!(one("chain 3 5"), Command::Chain { from: Height(3), to: Some(Height(5)) });
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    assert_eq!(one(&format!("outcome {id}")), Command::Outcome(id.parse().unwrap()));
    let plain = [
        ("settle", Command::Settle),
        ("status", Command::Status),
        ("verify", Command::Verify),
        ("heal", Command::Heal),
        ("quit", Command::Quit),
        ("help", Command::Help(None)),
        ("kill C", Command::Kill(c)),
        ("revive C", Command::Revive(c)),
        ("partition A | B C", Command::Partition(vec![vec![a], vec![b, c]])),
        ("partition A|B|C", Command::Partition(vec![vec![a], vec![b], vec![c]])),
        ("partition C", Command::Partition(vec![vec![c]])),
    ];
    for (line, expected) in plain {
        assert_eq!(one(line), expected, "{line:?}");
    }
    let Command::Help(Some(word)) = one("help balance") else { panic!("help of a command") };
    assert_eq!(word.name, "balance");
}

#[test]
fn a_line_holds_several_commands_or_none() {
    let commands = parse("transfer A B 30; balance B;; # and more; settle", Grammar::Bank).unwrap();
    assert_eq!(commands, [transfer("A", "B", 30, false), Command::Balance("B".parse().unwrap())]);
    for nothing in ["", "  ", "# a comment", ";", "\r"] {
        assert_eq!(parse(nothing, Grammar::Bank), Ok(Vec::new()));
    }
    assert!(wrong("balance A; balanc B").contains("did you mean balance?"));
    let each = parse_each("settle; balanc B; exit", Grammar::Bank);
    assert!(matches!(&each[..], [Ok(Command::Settle), Err(_), Ok(Command::Quit)]), "{each:?}");
}

#[test]
fn unknown_commands_get_a_suggestion_where_one_is_near() {
    for (written, meant) in [
        ("transfre A B 30 now", "transfer"),
        ("trans A", "transfer"),
        ("balnce A", "balance"),
        ("stats", "status"),
        ("halp", "help"),
        ("help outcmoe", "outcome"),
        ("blance A", "balance"),
        ("lgo A", "log"),
    ] {
        assert!(wrong(written).contains(&format!("did you mean {meant}?")), "{}", wrong(written));
    }
    for far in ["rm -rf /", "x", "withdraw 5 A"] {
        let told = wrong(far);
        assert!(told.contains("is no command; help lists all, and a transfer is FROM TO AMOUNT"), "{told}");
    }
    assert!(wrong(&"x".repeat(10_000)).len() < 200, "what is told stays readable");
}

#[test]
fn wrong_arguments_say_what_is_expected() {
    let expected = [
        (
            "transfer",
            "the account to debit is missing; write transfer FROM TO AMOUNT [settled], such as: transfer A B 30",
        ),
        ("transfer A B", "the amount is missing; write transfer"),
        ("transfer A B -5", "the amount \"-5\" is negative"),
        ("A B -5", "the amount \"-5\" is negative"),
        ("A B 5x", "give a whole number of the smallest unit, such as 250; write transfer"),
        ("blance A 5 3", "transfer does not take \"3\" here; or did you mean the command balance?; write transfer"),
        ("A B 5 soon", "transfer does not take \"soon\" here; write transfer"),
        ("(A, B)", "write one per line as (FROM, TO, AMOUNT), such as (A, B, 4)"),
        ("(A, B, 5) soon", "is not a transfer"),
        ("balance", "the account is missing; write balance ACCOUNT, such as: balance A"),
        ("balance A B", "balance does not take \"B\" here; write balance ACCOUNT"),
        ("balance a!b", "names are made of ASCII letters"),
        ("log", "the node is missing; write log NODE, such as: log A"),
        ("chain x", "\"x\" is no height: the blocks are counted from 0; write chain [FROM [TO]], such as: chain"),
        ("chain 5 3", "5 lies behind 3: the lower height comes first"),
        ("outcome 7", "is not a transfer id"),
        ("settle A", "settle does not take \"A\" here; write settle"),
        ("kill C", "kill is only for nodes that are all in this process"),
    ];
    for (line, fault) in expected {
        assert!(wrong(line).contains(fault), "{line:?}: {}", wrong(line));
    }
    for (line, fault) in [
        ("partition", "a group has no node; write partition NODE ... | NODE ... [| ...], such as: partition A | B C"),
        ("partition A | ", "a group has no node"),
        ("partition A | B A", "A is named twice"),
        ("kill", "the node is missing"),
    ] {
        let told = parse(line, Grammar::Cluster).unwrap_err().to_string();
        assert!(told.contains(fault), "{line:?}: {told}");
    }
}

#[test]
fn every_example_of_the_help_can_be_typed() {
    for grammar in [Grammar::Bank, Grammar::Cluster] {
        for word in grammar.words() {
            for example in word.examples {
                assert_eq!(parse(example, grammar).unwrap().len(), 1, "{example:?}");
            }
            let told = help(Some(word), grammar);
            assert!(told.starts_with(word.usage) && told.contains("Examples:\n  "), "{told}");
            assert!(help(None, grammar).contains(word.usage));
        }
        let overview = help(None, grammar);
        let examples = overview.split_once("Examples:\n").unwrap().1;
        for example in examples.lines() {
            assert!(!parse(example, grammar).unwrap().is_empty(), "{example:?}");
        }
    }
    assert!(!help(None, Grammar::Bank).contains("partition"));
}
