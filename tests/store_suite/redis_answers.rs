//! Answers that make no sense, or say that now is not the time: each is an error, none a panic, and none a write that
//! counts as done.

use std::io::{Read, Write as _};
use std::net::TcpListener;

use paxos_banking::effect::Record;
use paxos_banking::entropy::Entropy;
use paxos_banking::store::{Disk, RedisAddress, RedisCredentials, RedisStore, Store, StoreError, Stream, recover};

use crate::script::*;

const INFO: &str = "redis_version:7.0.15\r\nrole:master\r\ncluster_enabled:0\r\nloading:0\r\n";

/// What a good server answers while it is looked at.
fn handshake() -> Vec<Vec<u8>> {
    let settings = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("no-appendfsync-on-rewrite", "no"),
        ("maxmemory-policy", "noeviction"),
    ];
    let pair = |(name, value): (&str, &str)| {
        format!("*2\r\n${}\r\n{name}\r\n${}\r\n{value}\r\n", name.len(), value.len()).into_bytes()
    };
    let info = format!("${}\r\n{INFO}\r\n", INFO.len()).into_bytes();
    std::iter::once(info).chain(settings.map(pair)).collect()
}

/// A server that gives these answers, one per request, on one connection, which it closes then.
fn server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", listener.local_addr().unwrap());
    let serve = move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = vec![0; 1 << 16];
        for answer in answers {
            // The other side may have gone, as it should after nonsense.
            if !connection.read(&mut request).is_ok_and(|bytes| bytes > 0) || connection.write_all(&answer).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().spawn(serve).unwrap();
    address
}

fn open(address: &str) -> Result<RedisStore, StoreError> {
    RedisStore::open(address.parse().unwrap(), node("A"))
}

#[test]
fn a_server_that_cannot_serve_now_says_so_and_may_be_asked_again() {
    for said in [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script",
        "MASTERDOWN Link with MASTER is down",
        "ERR max number of clients reached",
    ] {
        let error = open(&server(vec![format!("-{said}\r\n").into_bytes()])).err().unwrap();
        assert!(matches!(&error, StoreError::Unread(what) if what.contains(said)), "{error}");
    }
    for said in ["DENIED Redis is running in protected mode", "NOAUTH Authentication required."] {
        let error = open(&server(vec![format!("-{said}\r\n").into_bytes()])).err().unwrap();
        assert!(matches!(&error, StoreError::Denied { what, .. } if what.contains(said)), "{error}");
    }
    let loading = INFO.replace("loading:0", "loading:1");
    let error = open(&server(vec![format!("${}\r\n{loading}\r\n", loading.len()).into_bytes()])).err().unwrap();
    assert!(matches!(&error, StoreError::Unread(what) if what.contains("LOADING")), "{error}");
    let old = INFO.replace("7.0.15", "6.0.16");
    let error = open(&server(vec![format!("${}\r\n{old}\r\n", old.len()).into_bytes()])).err().unwrap();
    assert!(matches!(&error, StoreError::Unsafe { settings, .. } if settings[0].name == "redis_version"), "{error}");
}

#[test]
fn r13_a_write_that_is_refused_for_now_was_not_done_and_one_with_another_error_is_unknown() {
    let write = recover(&mut Disk::new().open(), &options()).unwrap().journal.write(vec![Record::Admitted]);
    let digest = b"$3\r\nabc\r\n".to_vec();
    for (said, certain) in [
        ("MISCONF Errors writing to the AOF file: No space left on device", true),
        ("NOREPLICAS Not enough good replicas to write.", true),
        ("OOM command not allowed when used memory > 'maxmemory'.", true),
        ("@user_script: 165: -OOM command not allowed when used memory > 'maxmemory'.", true),
        ("ERR something else", false),
        ("UNHEARDOF of", false),
    ] {
        let answers = [handshake(), vec![digest.clone(), format!("-{said}\r\n").into_bytes()]].concat();
        let error = open(&server(answers)).unwrap().write(&write).unwrap_err();
        assert_eq!(matches!(error, StoreError::NotWritten(_)), certain, "{said}: {error}");
        assert_eq!(matches!(error, StoreError::Unknown(_)), !certain, "{said}: {error}");
    }
}

#[test]
fn r13_no_answer_makes_a_store_panic_or_take_a_write_for_done() {
    let write = recover(&mut Disk::new().open(), &options()).unwrap().journal.write(vec![Record::Admitted]);
    let mut entropy = Entropy::from_seed(11);
    let parts: [&[u8]; 21] = [
        b"*",
        b"$",
        b":",
        b"-",
        b"+",
        b"%",
        b"~",
        b"_",
        b"#t",
        b",",
        b"(",
        b"=",
        b">",
        b"|",
        b"\r\n",
        b"0",
        b"1",
        b"2",
        b"-1",
        b"9999999999",
        b"record",
    ];
    for _ in 0..300 {
        let count = entropy.below(14);
        let mut picked = || parts[usize::try_from(entropy.below(parts.len() as u64)).unwrap()];
        let nonsense: Vec<u8> = (0..count).flat_map(|_| picked()).copied().chain(*b"\r\n").collect();
        assert!(open(&server(vec![nonsense.clone()])).is_err());
        let store = |before: &[Vec<u8>]| {
            let answers = [handshake(), before.to_vec(), vec![nonsense.clone()]].concat();
            open(&server(answers)).unwrap()
        };
        let digest = [b"$3\r\nabc\r\n".to_vec()];
        for before in [&digest[..], &[]] {
            for error in [store(before).write(&write).unwrap_err(), store(before).take_epoch(1).unwrap_err()] {
                assert!(error.may_be_retried(), "{}: {error}", String::from_utf8_lossy(&nonsense));
            }
            drop(store(before).read(Stream::Chain, 0, 9, 9));
            drop(store(before).fields());
        }
    }
}

#[test]
fn an_answer_that_repeats_the_password_is_not_repeated() {
    let said = "-ERR unknown command 'AUTH', with args beginning with: 'hunter2' \r\n";
    let mut address: RedisAddress = server(vec![said.into()]).parse().unwrap();
    address.credentials = Some(RedisCredentials::new(Some("me".to_owned()), "hunter2".to_owned()));
    let error = RedisStore::open(address, node("A")).err().unwrap();
    assert!(matches!(&error, StoreError::Denied { what, .. } if what.contains("is AUTH disabled")), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
