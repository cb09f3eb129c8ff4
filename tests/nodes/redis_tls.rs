//! Redis servers behind TLS: real ones, with certificates that `openssl` makes.

use std::time::Duration;

use paxos_banking::ledger::Wait;

use crate::bank::{Bank, NAMES, Stores};
use crate::certificates::Authority;
use crate::load::Load;
use crate::process::fails_to_start;
use crate::redis::RedisServer;
use crate::redis_users::{PASSWORD, alone, password_file, paxbank, serves, silent};

const HERE: &str = "IP:127.0.0.1";

/// An authority, and a server with a certificate of its own for 127.0.0.1.
fn server() -> (Authority, RedisServer) {
    let authority = Authority::new();
    authority.sign("server", HERE);
    let redis = RedisServer::start_tls(&authority.of_server("server", "no"));
    (authority, redis)
}

/// `paxbank check` of a store does not get there, and says this, in one line.
async fn refused(store: &str, more: &[&str], expected: &str) {
    let (code, told) = paxbank(&[&["check", "--store", store], more].concat(), &[]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains(expected), "{expected:?} is not in {told}");
}

#[tokio::test]
async fn a_redis_behind_tls_is_killed_and_restarted_under_its_node_and_nothing_told_is_lost() {
    let bank = Bank::start(Stores::RedisTls, 1_000).await;
    let load = Load::start(&bank);
    load.goes_on(&NAMES, 5).await;
    bank.redis["A"].kill();
    load.goes_on(&["B", "C"], 5).await;
    bank.redis["A"].restart();
    load.goes_on(&["A"], 5).await;
    load.check(&bank, 1_000).await;
}

#[tokio::test]
async fn a_node_logs_in_through_tls_with_a_password_and_the_doctor_and_the_check_do() {
    let authority = Authority::new();
    authority.sign("server", HERE);
    let mut settings = authority.of_server("server", "no");
    settings.extend(["--requirepass".to_owned(), PASSWORD.to_owned()]);
    let redis = RedisServer::start_tls(&settings);
    let directory = tempfile::tempdir().unwrap();
    let (file, ca) = (password_file(directory.path(), PASSWORD), authority.file("ca.pem"));
    let login = ["--redis-password-file", file.as_str(), "--redis-ca", &ca];
    serves(&alone(&redis.address_tls(), &login)).await;
    // As keys of a configuration file, and as variables.
    let keys = format!("redis-ca = {ca:?}\nredis-password-file = {file:?}\n");
    let config = directory.path().join("a.toml");
    std::fs::write(&config, keys).unwrap();
    serves(&alone(&redis.address_tls(), &["--config", config.to_str().unwrap()])).await;
    let environment = [("PAXBANK_REDIS_CA", ca.as_str()), ("PAXBANK_REDIS_PASSWORD", PASSWORD)];
    for command in ["check", "doctor"] {
        let (code, told) = paxbank(&[command, "--store", &redis.address_tls()], &environment).await;
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("A: intact") || told.contains("holds what was stored by A"), "{told}");
        silent(&told);
    }
    let (code, told) = paxbank(&["doctor", "--store", &redis.address_tls(), "--redis-ca", &ca], &[]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("problem") && told.contains("it wants a password and none is given"), "{told}");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_one_and_says_so_without() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("server", HERE);
    authority.sign("node", HERE);
    stranger.sign("node", HERE);
    let redis = RedisServer::start_tls(&authority.of_server("server", "yes"));
    let (ca, cert, key) = (authority.file("ca.pem"), authority.file("node.pem"), authority.file("node.key"));
    let with = ["--redis-ca", &ca, "--redis-cert", &cert, "--redis-key", &key];
    serves(&alone(&redis.address_tls(), &with)).await;
    let (code, log) = fails_to_start(&alone(&redis.address_tls(), &["--redis-ca", &ca])).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("it wants a certificate of its clients; give one in --redis-cert"), "{log}");
    let (cert, key) = (stranger.file("node.pem"), stranger.file("node.key"));
    let with = ["--redis-ca", &ca, "--redis-cert", &cert, "--redis-key", &key];
    let expected = format!("it does not take the certificate in {cert} (UnknownCA)");
    refused(&redis.address_tls(), &with, &expected).await;
    // Before TLS 1.3 the same is told in another way.
    let mut older = authority.of_server("server", "yes");
    older.extend(["--tls-protocols".to_owned(), "TLSv1.2".to_owned()]);
    let older = RedisServer::start_tls(&older);
    refused(&older.address_tls(), &["--redis-ca", &ca], "it wants a certificate of its clients").await;
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_its_name_and_its_dates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("elsewhere", "DNS:bank.example,DNS:localhost");
    authority.sign_until("expired", HERE, "20240101000000Z");
    let (ca, other) = (authority.file("ca.pem"), stranger.file("ca.pem"));
    let redis = RedisServer::start_tls(&authority.of_server("elsewhere", "no"));
    let by_name = redis.address_tls().replace("127.0.0.1", "localhost");
    serves(&alone(&by_name, &["--redis-ca", &ca])).await;
    refused(&by_name, &["--redis-ca", &other], &format!("its certificate is signed by nobody in {other}")).await;
    refused(&by_name, &[], "its certificate is signed by nobody whom this system trusts").await;
    let expected = "its certificate is not for 127.0.0.1 but for";
    refused(&redis.address_tls(), &["--redis-ca", &ca], expected).await;
    refused(&redis.address_tls(), &["--redis-ca", &ca], "bank.example").await;
    let (code, log) = fails_to_start(&alone(&redis.address_tls(), &["--redis-ca", &ca])).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains(expected), "{log}");
    // The system's own can be somewhere else, as for OpenSSL.
    let check = ["check", "--store", &by_name];
    let (code, told) = paxbank(&check, &[("SSL_CERT_FILE", &ca)]).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = paxbank(&check, &[("SSL_CERT_FILE", "/nowhere/ca.pem")]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("/nowhere/ca.pem") && told.contains("SSL_CERT_FILE"), "{told}");

    let redis = RedisServer::start_tls(&authority.of_server("expired", "no"));
    refused(&redis.address_tls(), &["--redis-ca", &ca], "its certificate is expired; renew it").await;
    // What `openssl req -x509` makes by itself.
    let redis = RedisServer::start_tls(&authority.of_server("ca", "no"));
    refused(&redis.address_tls(), &["--redis-ca", &ca], "is that of an authority itself").await;
}

#[tokio::test]
async fn a_port_with_tls_and_one_without_are_told_apart() {
    let (authority, behind_tls) = server();
    let ca = authority.file("ca.pem");
    let plain = RedisServer::start();
    let store = plain.address_tcp().replace("redis:", "rediss:");
    refused(&store, &["--redis-ca", &ca], "a Redis without TLS listens there; give the port of its tls-port").await;
    let store = behind_tls.address_tls().replace("rediss:", "redis:");
    refused(&store, &[], "what listens there speaks TLS; give rediss://").await;
    let directory = tempfile::tempdir().unwrap();
    let file = password_file(directory.path(), PASSWORD);
    refused(&store, &["--redis-password-file", &file], "what listens there speaks TLS; give rediss://").await;
    // Certificates that nobody would look at.
    let (code, log) = fails_to_start(&alone(&plain.address_tcp(), &["--redis-ca", &ca])).await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("--redis-ca (or PAXBANK_REDIS_CA) is given, but redis://"), "{log}");
    // And what is no Redis at all.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("rediss://{}", stranger.local_addr().unwrap());
    let greets = std::thread::Builder::new().spawn(move || {
        use std::io::{Read as _, Write as _};
        for connection in stranger.incoming().take(2) {
            let mut connection = connection.unwrap();
            drop(connection.write_all(b"SSH-2.0-OpenSSH_9.6\r\n"));
            // Until the other side has heard enough: whoever closes first may take back what was said.
            drop(connection.read_to_end(&mut Vec::new()));
        }
    });
    refused(&address, &["--redis-ca", &ca], "what listens there speaks no TLS; check host and port").await;
    greets.unwrap().join().unwrap();
}

#[tokio::test]
async fn files_that_are_missing_or_hold_something_else_are_named() {
    let (authority, redis) = server();
    authority.sign("node", HERE);
    let encrypt = ["pkcs8", "-topk8", "-in", "node.key", "-out", "locked.key", "-v2", "aes256", "-passout", "pass:xyz"];
    authority.openssl(&encrypt);
    let text = authority.file("text");
    std::fs::write(&text, "no PEM").unwrap();
    let broken = authority.file("broken");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let store = redis.address_tls();
    let file = |name: &str| authority.file(name);
    let (cert, key, server_key, locked) = (file("node.pem"), file("node.key"), file("server.key"), file("locked.key"));
    let with = |cert: &str, key: &str| ["--redis-cert", cert, "--redis-key", key].map(str::to_owned).to_vec();
    let ca = |ca: &str| vec!["--redis-ca".to_owned(), ca.to_owned()];
    for (more, expected) in [
        (ca("/nowhere/ca.pem"), "the file of trusted certificates /nowhere/ca.pem cannot be read: No such file"),
        (ca(&text), "it holds no certificate in PEM"),
        (ca(&broken), "broken cannot be used: "),
        (with("/nowhere/c.pem", &key), "the certificate /nowhere/c.pem cannot be read"),
        (with(&cert, "/nowhere/k.pem"), "the key /nowhere/k.pem cannot be read"),
        (with(&key, &key), "it holds no certificate in PEM"),
        (with(&cert, &cert), "it holds no key in PEM"),
        (with(&cert, &locked), "it is encrypted, and a node has nobody to ask"),
        (with(&cert, &server_key), "does not fit the certificate in"),
        (with(&cert, &key)[..2].to_vec(), "give both --redis-cert and --redis-key, or none"),
        (with(&cert, &key)[2..].to_vec(), "give both --redis-cert and --redis-key, or none"),
    ] {
        refused(&store, &more.iter().map(String::as_str).collect::<Vec<_>>(), expected).await;
    }
    let (code, told) = paxbank(&["doctor", "--store", &store, "--redis-ca", &text], &[]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("it holds no certificate in PEM"), "{told}");
}

#[tokio::test]
async fn a_node_whose_redis_comes_back_with_a_bad_certificate_says_so_and_goes_on_once_it_is_renewed() {
    let bank = Bank::start(Stores::RedisTls, 100).await;
    bank.redis["A"].kill();
    bank.authority().sign_until("server", HERE, "20240101000000Z");
    bank.redis["A"].restart();
    let client = bank.client();
    drop(client.settle(None, Duration::from_secs(1)).await);
    let told = bank.until("A", |status| {
        status.reason.as_ref().is_some_and(|reason| reason.contains("its certificate is expired"))
    });
    assert!(told.await.reason.is_some());
    bank.redis["A"].kill();
    bank.authority().sign("server", HERE);
    bank.redis["A"].restart();
    bank.until("A", |status| status.reason.is_none()).await;
    bank.approved(&client, "A", "B", 5, Wait::Settled).await;
}
