//! Histories made by hand: a good one, and the same with one lie each.

use std::sync::Arc;

use super::*;
use crate::ledger::{Action, Block, Entry, Genesis, Operation, Run};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn transfer(id: u128, from: &str, to: &str, amount: u64) -> Operation {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    Operation { id: id.into(), action: Action::Transfer { from, to, amount: Amount::new(amount) } }
}

fn open(id: u128, account: &str) -> Operation {
    Operation { id: id.into(), action: Action::Open { account: account.parse().unwrap() } }
}

/// Three nodes with 100 each, and two blocks. After the first, A has 120, B 50, C 130; after the second, A 10 and B 160.
fn chain() -> Chain {
    let genesis = Genesis::with_equal_openings(["A", "B", "C"].map(node), Amount::new(100)).unwrap();
    let mut chain = Chain::new(&genesis);
    let run = |origin, first, operations| Run { origin: node(origin), first: Seq(first), operations };
    let first = vec![
        run("A", 1, vec![transfer(1, "A", "B", 20), transfer(2, "A", "C", 30)]),
        run("B", 1, vec![transfer(3, "B", "A", 70)]),
    ];
    let second = vec![run("A", 3, vec![transfer(4, "A", "B", 110)]), run("B", 2, vec![open(8, "x@B")])];
    for runs in [first, second] {
        let block = Block::new(chain.height().next(), chain.tip().tip(), chain.tip().state(), runs).unwrap();
        chain.append(&Arc::new(block)).unwrap();
    }
    assert!(chain.is_conserved());
    chain
}

fn log() -> BTreeMap<NodeId, Vec<Entry>> {
    let entry = Entry { origin: node("A"), seq: Seq(4), operation: transfer(5, "A", "B", 5) };
    [("A", vec![entry]), ("B", vec![]), ("C", vec![])].map(|(name, log)| (node(name), log)).into()
}

/// Ids are written short here: `~1`.
const GOOD: &str = r#"
{"client":"a","call":10,"ret":20,"op":"transfer","id":"~1","from":"A","to":"B","amount":20,"result":"approved","origin":"A","seq":1}
{"client":"b","call":15,"ret":45,"op":"transfer","id":"~3","from":"B","to":"A","amount":70,"result":"approved","origin":"B","seq":1,"height":1}
{"client":"a","call":30,"ret":40,"op":"transfer","id":"~2","from":"A","to":"C","amount":30,"result":"unknown"}
{"client":"a","call":41,"ret":42,"op":"balance","account":"A","read":"local","seen":0,"result":"balance","node":"A","settled":100,"height":0,"spendable":50}
{"client":"a","call":50,"ret":60,"op":"transfer","id":"~4","from":"A","to":"B","amount":110,"result":"approved","origin":"A","seq":3}
{"client":"b","call":61,"ret":62,"op":"balance","account":"B","read":"settled","seen":1,"result":"balance","node":"C","settled":50,"height":1}
{"client":"b","call":65,"ret":69,"op":"balance","account":"B","read":"fresh","seen":1,"result":"balance","node":"B","settled":160,"height":2,"spendable":160,"not_heard":[]}
{"client":"a","call":70,"ret":80,"op":"transfer","id":"~6","from":"A","to":"B","amount":50,"result":"refused","reason":"insufficient_funds","height":2,"spendable":10,"not_heard":[]}
{"client":"a","call":90,"ret":95,"op":"transfer","id":"~5","from":"A","to":"B","amount":5,"result":"approved","origin":"A","seq":4,"note":"not settled yet"}
{"client":"b","call":46,"ret":64,"op":"open","id":"~8","account":"x@B","result":"approved","origin":"B","seq":2,"height":2}
{"client":"b","call":91,"ret":92,"op":"open","id":"~9","account":"x@B","result":"refused","reason":"account_exists","height":2}
{"client":"b","call":93,"ret":94,"op":"transfer","id":"~A","from":"B","to":"y@B","amount":1,"result":"refused","reason":"unknown_account","unknown_account":"y@B","height":2}
{"client":"b","call":96,"ret":97,"op":"transfer","id":"~3","from":"B","to":"A","amount":71,"result":"conflict"}
{"client":"b","call":98,"ret":99,"op":"transfer","id":"~3","from":"B","to":"A","amount":70,"again":true,"result":"approved","origin":"B","seq":1,"height":1}
{"client":"b","call":98,"ret":99,"op":"transfer","id":"~B","from":"B","to":"A","amount":0,"result":"refused","reason":"amount_zero"}
{"client":"b","call":98,"ret":99,"op":"transfer","id":"~C","from":"B","to":"A","amount":7,"result":"expired"}
{"client":"b","call":98,"ret":99,"op":"transfer","id":"~D","from":"B","to":"A","amount":7,"result":"turned_away"}
{"client":"b","call":98,"op":"transfer","id":"~E","from":"B","to":"A","amount":7,"result":"not_sent"}
{"client":"b","call":98,"op":"balance","account":"B","read":"local","result":"unknown"}
"#;

fn with_ids(text: &str) -> String {
    let (mut whole, mut parts) = (String::new(), text.split("\"~"));
    whole.push_str(parts.next().unwrap());
    for part in parts {
        whole.push_str(&format!("\"{}{part}", "0".repeat(25)));
    }
    whole.trim_start().to_owned()
}

fn judged(text: &str, not_heard: &[&str], exempt: &Exempt) -> Judged {
    let mut history = History { complete: true, ..History::default() };
    read(with_ids(text).as_bytes(), &mut history).unwrap();
    let chain = chain();
    let (mut logs, not_heard): (_, BTreeSet<_>) = (log(), not_heard.iter().map(|name| node(name)).collect());
    logs.retain(|home, _| !not_heard.contains(home));
    Witness::new(&history, Evidence { chain: &chain, logs, not_heard }, exempt).judge()
}

fn rules(text: &str) -> Vec<Rule> {
    let Judged { violations, open } = judged(text, &[], &Exempt::default());
    assert_eq!(open, 0, "all is known");
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_true_history_passes() {
    assert_eq!(judged(GOOD, &[], &Exempt::default()).violations, []);
}

/// What is replaced in the good one, by what, and the rule that it breaks.
const LIES: [(&str, &str, Rule); 23] = [
    // An approval that was lost, one of another content, and one that was told as another entry.
    (
        r#""to":"C","amount":30,"result":"unknown""#,
        r#""to":"C","amount":30,"result":"approved","origin":"A","seq":3"#,
        Rule::ApprovedOnce,
    ),
    (
        r#""id":"~D","from":"B","to":"A","amount":7,"result":"turned_away""#,
        r#""id":"~D","from":"B","to":"A","amount":7,"result":"approved","origin":"B","seq":3"#,
        Rule::ApprovedOnce,
    ),
    (
        r#""id":"~4","from":"A","to":"B","amount":110,"result":"approved","origin":"A","seq":3"#,
        r#""id":"~4","from":"A","to":"B","amount":110,"result":"approved","origin":"A","seq":2"#,
        Rule::ApprovedOnce,
    ),
    (r#""amount":5,"result":"approved""#, r#""amount":6,"result":"approved""#, Rule::ApprovedOnce),
    // A refusal of what was executed.
    (
        r#""result":"approved","origin":"A","seq":4"#,
        r#""result":"refused","reason":"insufficient_funds","height":2,"spendable":0,"not_heard":[]"#,
        Rule::RefusedNever,
    ),
    // Two outcomes of one id.
    (
        r#""again":true,"result":"approved","origin":"B","seq":1"#,
        r#""again":true,"result":"approved","origin":"B","seq":2"#,
        Rule::OneOutcome,
    ),
    // The block that holds it, and the one that is said to hold it.
    (r#""origin":"B","seq":2,"height":2"#, r#""origin":"B","seq":2,"height":1"#, Rule::ToldHeight),
    (r#""origin":"A","seq":4,"note""#, r#""origin":"A","seq":4,"height":2,"note""#, Rule::ToldHeight),
    // What expired, or was turned away, or was never asked for, and is there.
    (
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"unknown""#,
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"expired""#,
        Rule::ExpiredNever,
    ),
    (
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"unknown""#,
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"turned_away""#,
        Rule::TurnedAwayNever,
    ),
    (
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"unknown""#,
        r#""id":"~2","from":"A","to":"C","amount":31,"result":"unknown""#,
        Rule::AskedFor,
    ),
    (
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"unknown""#,
        r#""id":"~2","from":"A","to":"C","amount":30,"result":"not_sent""#,
        Rule::AskedFor,
    ),
    (r#""to":"A","amount":71,"result":"conflict""#, r#""to":"A","amount":70,"result":"conflict""#, Rule::TrueConflict),
    // A refusal that leaves out what B had sent to A, and was heard of before.
    (
        r#""call":50,"ret":60,"op":"transfer","id":"~4","from":"A","to":"B","amount":110,"result":"approved","origin":"A","seq":3"#,
        r#""call":50,"ret":60,"op":"transfer","id":"~F","from":"A","to":"B","amount":110,"result":"refused","reason":"insufficient_funds","height":0,"spendable":50,"not_heard":["C"]"#,
        Rule::CountsBefore,
    ),
    // Amounts that could not be spent, or would have been enough.
    (r#""height":2,"spendable":10,"not_heard":[]"#, r#""height":2,"spendable":11,"not_heard":[]"#, Rule::Spendable),
    (r#""amount":50,"result":"refused""#, r#""amount":10,"result":"refused""#, Rule::Spendable),
    (r#""unknown_account":"y@B""#, r#""unknown_account":"B""#, Rule::TrueReason),
    (r#""op":"open","id":"~9","account":"x@B""#, r#""op":"open","id":"~9","account":"z@B""#, Rule::TrueReason),
    (r#""amount":0,"result":"refused""#, r#""amount":1,"result":"refused""#, Rule::TrueReason),
    // A:1 is asked for after A:3 was heard of.
    (r#""call":10,"ret":20"#, r#""call":61,"ret":62"#, Rule::RealTimeOrder),
    // Balances.
    (r#""settled":50,"height":1"#, r#""settled":51,"height":1"#, Rule::TrueBalance),
    (r#""height":0,"spendable":50"#, r#""height":0,"spendable":49"#, Rule::TrueBalance),
    (r#""read":"settled","seen":1"#, r#""read":"settled","seen":2"#, Rule::GoesBack),
];

#[test]
fn each_lie_is_found_and_named() {
    for (found, lie, expected) in LIES {
        assert_eq!(GOOD.matches(found).count(), 1, "{found}");
        let rules = rules(&GOOD.replace(found, lie));
        assert!(rules.contains(&expected), "{lie}: {rules:?}");
    }
}

#[test]
fn a_fresh_read_counts_what_was_heard_before_it() {
    let fresh = r#""read":"fresh","seen":1,"result":"balance","node":"B","settled":160,"height":2,"spendable":160,"not_heard":[]"#;
    let old = r#""read":"fresh","seen":1,"result":"balance","node":"B","settled":50,"height":1,"spendable":50,"not_heard":[]"#;
    assert_eq!(rules(&GOOD.replace(fresh, old)), [Rule::CountsBefore], "A:3, which credits B, was heard of before");
    let named = old.replace("\"not_heard\":[]", "\"not_heard\":[\"A\"]");
    assert_eq!(rules(&GOOD.replace(fresh, &named)), []);
}

#[test]
fn of_an_id_that_was_asked_for_before_the_file_begins_no_order_is_known() {
    let late = GOOD.replace(r#""call":10,"ret":20"#, r#""call":61,"ret":62,"again":true"#);
    assert_eq!(rules(&late), []);
}

#[test]
fn what_is_there_twice_is_found() {
    let mut history = History::default();
    read(with_ids(GOOD).as_bytes(), &mut history).unwrap();
    let chain = chain();
    let mut logs = log();
    let twice = Entry { origin: node("A"), seq: Seq(5), operation: transfer(2, "A", "C", 30) };
    logs.get_mut(&node("A")).unwrap().push(twice);
    let exempt = Exempt::default();
    let witness = Witness::new(&history, Evidence { chain: &chain, logs, not_heard: BTreeSet::new() }, &exempt);
    let violations = witness.judge().violations;
    assert_eq!(violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(), [Rule::AtMostOnce]);
    assert!(violations[0].to_string().contains("A:2 A→C 30, settled at height 1 and A:5"), "{}", violations[0]);
}

#[test]
fn what_only_a_node_knows_that_was_not_heard_is_left_open_and_the_chain_still_judges() {
    let judged_without_a = judged(GOOD, &["A"], &Exempt::default());
    assert_eq!((judged_without_a.violations, judged_without_a.open), (vec![], 1), "A:4 may be in its log");
    let lie = GOOD.replace(r#""height":0,"spendable":50"#, r#""height":0,"spendable":49"#);
    assert_eq!(judged(&lie, &["A"], &Exempt::default()).violations.len(), 1);
}

#[test]
fn a_store_that_was_lost_excuses_what_it_had_not_settled_and_nothing_else() {
    let lost = Exempt { destroyed: [node("B")].into(), ..Exempt::default() };
    let unsettled = GOOD.replace(r#""result":"turned_away""#, r#""result":"approved","origin":"B","seq":3"#);
    assert_eq!(judged(&unsettled, &[], &lost).violations, []);
    let settled = GOOD.replace(r#""result":"turned_away""#, r#""result":"approved","origin":"B","seq":2"#);
    assert_eq!(judged(&settled, &[], &lost).violations.len(), 1);
}

#[test]
fn a_line_that_is_none_is_named_by_its_number() {
    let line = r#"{"client":"a","call":10,"ret":20,"op":"transfer","id":"~1","from":"A","to":"B","amount":20,"result":"approved","origin":"A","seq":1}"#;
    let wrong: [(&str, &str, &str); 11] = [
        ("\"call\":10,", "", "missing field `call`"),
        ("\"ret\":20,", "", "ret is missing"),
        ("\"ret\":20", "\"ret\":9", "returned (ret) before it was called"),
        ("\"seq\":1", "\"sec\":1", "unknown field `sec`"),
        (",\"seq\":1", "", "seq is missing"),
        ("\"amount\":20", "\"amount\":-1", "invalid value"),
        ("\"to\":\"B\",", "", "to is missing"),
        ("\"approved\"", "\"granted\"", "unknown variant `granted`"),
        ("\"result\":\"approved\"", "\"result\":\"refused\",\"reason\":\"no\"", "\"no\" is no reason"),
        ("\"op\":\"transfer\"", "\"op\":\"open\"", "account is missing"),
        ("\"seq\":1}", "\"seq\":1", "EOF while parsing"),
    ];
    for (found, by, expected) in wrong {
        let text = with_ids(&format!("{line}\n{}\n", line.replacen(found, by, 1)));
        let error = read(text.as_bytes(), &mut History::default()).unwrap_err();
        assert!(error.number == 2 && error.what.contains(expected), "{by}: {error}");
    }
    let long = format!("{}\n", "x".repeat(70_000));
    assert!(read(long.as_bytes(), &mut History::default()).unwrap_err().what.contains("64 KiB"));
}

#[test]
fn a_line_is_read_as_it_was_written() {
    for line in with_ids(GOOD).lines() {
        let parsed: Line = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&parsed.text()).unwrap(), parsed);
    }
    let not_heard: BTreeSet<_> = [node("C")].into();
    let reason = Reason::InsufficientFunds { height: Height(2), spendable: Amount::new(10), not_heard };
    let asked = Line::transfer("a", 1, 6.into(), "A".parse().unwrap(), ("B".parse().unwrap(), Amount::new(50)));
    let mut history = History::default();
    asked.refused(2, &reason).enter(&mut history).unwrap();
    let story = &history.stories[&("A".parse().unwrap(), 6.into())];
    assert_eq!(story.outcome, Some((Outcome::Refused(reason), ("B".parse().unwrap(), Amount::new(50)), 2)));
}

#[test]
fn the_lines_of_the_document_are_lines_and_it_names_every_rule() {
    let document = include_str!("../../docs/history.md");
    let lines: Vec<&str> = document.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 5);
    let text = format!("{}\n", lines.join("\n"));
    let mut history = History::default();
    assert_eq!(read(text.as_bytes(), &mut history).unwrap(), 5);
    assert_eq!((history.stories.len(), history.reads.len()), (4, 1));
    for (.., rule) in LIES {
        assert!(document.contains(&format!("`{}`", rule.code())), "{rule:?}");
    }
}
