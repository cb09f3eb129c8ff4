use super::*;
use crate::codec;
use crate::ledger::{Answer, Approval, Reason};
use crate::wire::frame::frame_of;

fn back(reply: &Reply) -> Reply {
    codec::decode(&frame_of(reply)[4..]).unwrap()
}

fn outcomes(answers: Vec<Answer>) -> Reply {
    let outcomes = (0u32..).zip(answers).map(|(index, answer)| Outcome::new(index, answer));
    Reply { tag: 7, told: Told::Outcomes(outcomes.collect()) }
}

#[test]
fn every_answer_survives_the_way_to_the_client() {
    let home: NodeId = "A".parse().unwrap();
    let approval = Approval { origin: home, seq: Seq(5), height: Some(Height(2)) };
    let reason = Reason::InsufficientFunds {
        height: Height(3),
        spendable: Amount::new(20),
        not_heard: ["B".parse().unwrap()].into(),
    };
    let answers = vec![
        Answer::Approved(approval),
        Answer::Approved(Approval { height: None, ..approval }),
        Answer::Refused(reason),
        Answer::Refused(Reason::UnknownAccount { height: Height(0), account: "x@A".parse().unwrap() }),
        Answer::Refused(Reason::AccountExists { height: Height(4), account: "x@A".parse().unwrap() }),
        Answer::Conflict,
        Answer::Expired,
        Answer::Busy,
        Answer::NotReady,
        Answer::Pending,
    ];
    let Told::Outcomes(told) = back(&outcomes(answers.clone())).told else { panic!("outcomes") };
    let told: Vec<_> = told.into_iter().map(|outcome| outcome.answer(home).unwrap()).collect();
    assert_eq!(told, answers);
}

#[test]
fn a_full_call_of_the_longest_names_fits_its_frame() {
    let home = "n".repeat(16).parse().unwrap();
    let account = AccountId::new(&"a".repeat(32), home).unwrap();
    let transfer = Transfer(u128::MAX.into(), account, account, Amount::new(u64::MAX));
    let transfers = vec![transfer; TRANSFERS_MAX];
    let ask = Ask::Transfers { wait: Wait::Settled, within_ms: u64::MAX, transfers };
    assert!(frame_of(&Call { tag: u64::MAX, ask }).len() - 4 <= CALL_LIMITS.bytes_max);
}

#[test]
fn the_status_of_an_older_node_tells_neither_its_program_nor_its_clock_nor_its_writes() {
    // As a node of 0.1.0 told it at first: docs/wire.md promises that a field that may be nil may be missing.
    const OLDER: &str = "82 a3 74 61 67 07 a4 74 6f 6c 64 81 a6 73 74 61 74 75 73 8b a4 6e 6f 64 65 a1 41 a5 73 74 61 74 65 \
                         a5 72 65 61 64 79 a6 72 65 61 73 6f 6e c0 a6 68 65 69 67 68 74 01 a3 74 69 70 c4 20 37 4d 0d 63 \
                         df 71 92 69 f7 b5 da 7c 89 d7 e5 be 7e ce e3 42 b8 5e 02 a3 be 71 5c 7f e4 09 76 e6 a3 6c 6f 67 \
                         00 a6 62 61 6c 6c 6f 74 c0 a8 70 65 65 72 73 5f 75 70 90 a5 73 74 6f 72 65 a6 6d 65 6d 6f 72 79 \
                         a6 62 65 68 69 6e 64 00 a5 68 6f 6d 65 73 81 a1 41 c0";
    let bytes: Vec<u8> = OLDER.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let Told::Status(status) = codec::decode::<Reply>(&bytes).unwrap().told else { panic!("a status") };
    assert_eq!((status.state, status.program, status.clock_ms, status.writes), (State::Ready, None, None, None));
}

#[test]
fn an_outcome_of_no_known_kind_or_without_its_parts_is_no_answer() {
    let encode = |kind: u8| {
        let mut bytes = Vec::new();
        codec::encode_into(&mut bytes, &(0u32, kind, None::<u64>, None::<u64>, None::<u64>));
        codec::decode::<Outcome>(&bytes)
    };
    assert!(encode(7).is_err());
    assert_eq!(encode(0).unwrap().answer("A".parse().unwrap()), None, "approved as which entry?");
    assert_eq!(encode(4).unwrap().answer("A".parse().unwrap()), Some(Answer::Busy));
}
