use super::*;

/// A chain of two blocks, the first of which opens an account, as a file.
fn file() -> Vec<String> {
    let nodes: Vec<NodeId> = ["A", "B", "C"].map(|name| name.parse().unwrap()).into();
    let genesis = Genesis::with_equal_openings(nodes.clone(), Amount::new(100)).unwrap();
    let mut replay = Replay::new(&genesis);
    let mut lines = vec![genesis_line(&genesis, Height(2)).unwrap()];
    let account = "alice@A".parse().unwrap();
    let pay = |from: &str, to: &str, amount| Action::Transfer {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        amount: Amount::new(amount),
    };
    let run = |origin: usize, first, actions: &[Action]| Run {
        origin: nodes[origin],
        first: Seq(first),
        operations: actions.iter().map(|action| Operation { id: 7.into(), action: *action }).collect(),
    };
    let blocks = [
        vec![run(0, 1, &[Action::Open { account }, pay("A", "alice@A", 40)]), run(1, 1, &[pay("B", "C", 5)])],
        vec![run(0, 3, &[pay("alice@A", "B", 15)])],
    ];
    for runs in blocks {
        let bank = replay.bank();
        let block = Block::new(bank.height().next(), bank.tip(), bank.state(), runs).unwrap().into();
        replay.apply(&block).unwrap();
        lines.push(block_line(&block).unwrap());
    }
    lines
}

fn read(lines: &[String]) -> Result<Archive, Failure> {
    Archive::read("bank", lines.join("\n").as_bytes())
}

fn fault(lines: &[String]) -> (u8, String) {
    let failure = read(lines).err().expect("it is damaged");
    (failure.status, failure.message)
}

#[test]
fn a_file_reads_back_what_was_written() {
    let archive = read(&file()).unwrap();
    assert_eq!((archive.replay.height(), archive.entries, archive.replay.hashes().len()), (Height(2), 4, 3));
    let balances: Vec<_> = archive.replay.bank().balances().iter().map(|(name, sum)| format!("{name} {sum}")).collect();
    assert_eq!(balances, ["A 60", "alice@A 25", "B 110", "C 105"]);
    assert_eq!(archive.replay.hashes()[2], archive.replay.tip());
}

#[test]
fn every_flipped_character_is_named_by_its_line_or_changes_nothing() {
    let lines = file();
    let whole = read(&lines).unwrap();
    for (number, line) in lines.iter().enumerate() {
        for (at, byte) in line.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_graphic()) {
            let mut flipped = line.clone().into_bytes();
            flipped[at] = if byte == b'1' { b'2' } else { b'1' };
            let mut damaged = lines.clone();
            damaged[number] = String::from_utf8(flipped).unwrap();
            // An account of a node may be written in two ways, and an id with other letters: the hashes say the same.
            match read(&damaged) {
                Ok(archive) => assert_eq!(archive.replay.hashes(), whole.replay.hashes()),
                Err(failure) => {
                    // Where the height is another, that shows at the end.
                    let expected = format!("bank, line {}: ", number + 1);
                    let height = number == 0 && failure.message.contains("the first line says");
                    let cut = number == 0 && failure.message.contains("it was cut");
                    let newer = number == 0 && failure.message.contains("has format");
                    let strange = number == 0 && failure.message.contains("is no exported chain");
                    assert!(
                        failure.message.starts_with(&expected) || height || cut || newer || strange,
                        "{}",
                        failure.message
                    );
                }
            }
        }
    }
}

#[test]
fn lines_that_are_missing_doubled_or_exchanged_are_found() {
    let lines = file();
    let (cut, named) = (fault(&lines[..2]), "bank, line 3: the file ends after block 1, its first line says 2");
    assert!(cut.0 == 5 && cut.1.starts_with(named), "{cut:?}");
    assert_eq!(fault(&[]), (2, "bank is empty; give a file that paxbank export wrote".to_owned()));
    let gone = fault(&[lines[0].clone(), lines[2].clone()]);
    assert!(gone.1.starts_with("bank, line 2: block 2: its height is 2, the next is 1"), "{gone:?}");
    let twice = fault(&[lines.clone(), vec![lines[2].clone()]].concat());
    assert!(twice.1.starts_with("bank, line 4: the first line says that block 2 is the last"), "{twice:?}");
    let empty = fault(&[lines[0].clone(), String::new(), lines[1].clone()]);
    assert!(empty.1.starts_with("bank, line 2: this is not a block: "), "{empty:?}");
    let half = fault(&[lines[0].clone(), lines[1][..40].to_owned()]);
    assert!(half.0 == 5 && half.1.ends_with("line 2: the file ends inside of this line: it was cut"), "{half:?}");
    let strange = fault(&["(A, B, 4)".to_owned()]);
    assert!(strange.0 == 2 && strange.1.starts_with("bank is no exported chain"), "{strange:?}");
    for (text, number) in [(format!("{}\n{}", lines[0], &lines[1][..40]), 2), (lines[0][..40].to_owned(), 1)] {
        let cut = Archive::read("bank", text.as_bytes()).map(drop).unwrap_err();
        let expected = format!("bank, line {number}: the file ends inside of this line: it was cut");
        assert_eq!((cut.status, cut.message), (5, expected));
    }
}

#[test]
fn what_has_no_hash_of_its_own_is_held_by_the_others() {
    let mut lines = file();
    let newer = lines[0].replace("\"format\":1", "\"format\":2,\"blocks\":2");
    assert_eq!(fault(&[newer]).0, 2, "not damaged, but of a newer program");
    lines[0] = lines[0].replace("\"A\":100", "\"A\":101");
    assert!(fault(&lines).1.starts_with("bank, line 1: it names the bank "));
    let mut lines = file();
    lines[1] = lines[1].replace("\"amount\":40", "\"amount\":41");
    assert!(fault(&lines).1.starts_with("bank, line 2: block 1 carries the hash "));
}

#[test]
fn what_a_terminal_would_obey_is_escaped_where_it_is_repeated() {
    let mut lines = file();
    lines[1] = lines[1].replace("\"height\"", "\"\\u001b[2J\\n\"");
    let (status, told) = fault(&lines);
    assert!(status == 5 && told.contains("unknown field `\\u{1b}[2J\\n`"), "{told}");
    assert_eq!(crate::text::printable(&told), told);
}
