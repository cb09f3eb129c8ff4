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
