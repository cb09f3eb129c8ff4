//! TLS to a Redis: which certificates are trusted and shown, and what it means where that comes to nothing. A name is
//! always verified, and nothing turns that off.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ClientTlsConfig, RedisError, TlsCertificates};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::address::{RedisAddress, RedisPlace};

/// Whom to trust at the other end of `rediss://`, and who to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    authorities: Option<Arc<PemFile>>,
    identity: Option<Arc<Identity>>,
}

/// A certificate, and the key to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    certificate: PemFile,
    key: PemFile,
}

/// What was read from a file. Only its path is shown.
#[derive(Clone, PartialEq, Eq)]
struct PemFile {
    path: PathBuf,
    text: Vec<u8>,
}

impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

/// What is wrong with the files of certificates and keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisTlsError {
    /// No such file, or none for this user.
    #[error("{what} {path} cannot be read: {why}; check its path, and whose it is")]
    Unread {
        /// What it was to be.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It holds something else.
    #[error("{what} {path} cannot be used: {why}")]
    Unfit {
        /// What it was to be.
        what: &'static str,
        /// The file.
        path: String,
        /// What it is instead, and what to do.
        why: String,
    },
    /// Both are good, but not together.
    #[error(
        "the key in {key} does not fit the certificate in {certificate}; give the key that this certificate was made \
         for"
    )]
    KeyDoesNotFit {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
    },
    /// One without the other.
    #[error("a certificate is shown with its key: give both --redis-cert and --redis-key, or none")]
    Half,
}

const AUTHORITIES: &str = "the file of trusted certificates";
const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the key";

impl RedisTls {
    /// Reads and checks the files: certificates that are trusted instead of those of the system, a certificate to show to
    /// the server, and its key; all in PEM.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(ca: Option<&Path>, cert: Option<&Path>, key: Option<&Path>) -> Result<Self, RedisTlsError> {
        let authorities = ca.map(read_authorities).transpose()?.map(Arc::new);
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(Arc::new(read_identity(cert, key)?)),
            (None, None) => None,
            _ => return Err(RedisTlsError::Half),
        };
        Ok(Self { authorities, identity })
    }

    /// As the client of the Redis wants it.
    pub(super) fn certificates(&self) -> TlsCertificates {
        let client = |identity: &Identity| ClientTlsConfig {
            client_cert: identity.certificate.text.clone(),
            client_key: identity.key.text.clone(),
        };
        TlsCertificates {
            client_tls: self.identity.as_deref().map(client),
            root_cert: self.authorities.as_ref().map(|file| file.text.clone()),
        }
    }
}

impl PemFile {
    fn read(what: &'static str, path: &Path) -> Result<Self, RedisTlsError> {
        let unread = |error: std::io::Error| RedisTlsError::Unread {
            what,
            path: path.display().to_string(),
            why: error.to_string(),
        };
        Ok(Self { path: path.to_owned(), text: std::fs::read(path).map_err(unread)? })
    }

    fn certificates(&self, what: &'static str) -> Result<Vec<CertificateDer<'static>>, RedisTlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => {
                Err(self.unfit(what, "it holds no certificate in PEM, between -----BEGIN CERTIFICATE----- and its END"))
            }
            Err(error) => Err(self.unfit(what, format!("it is no PEM ({error})"))),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, RedisTlsError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| match error {
            PemError::NoItemsFound if self.text.windows(9).any(|part| part == b"ENCRYPTED") => self
                .unfit(KEY, "it is encrypted, and a node has nobody to ask; give one without a passphrase (chmod 600)"),
            PemError::NoItemsFound => {
                self.unfit(KEY, "it holds no key in PEM, between -----BEGIN PRIVATE KEY----- and its END")
            }
            // What stands in the file of a key is in no message.
            _ => self.unfit(KEY, "it is no PEM"),
        })
    }

    fn unfit(&self, what: &'static str, why: impl Into<String>) -> RedisTlsError {
        RedisTlsError::Unfit { what, path: self.path.display().to_string(), why: why.into() }
    }
}

fn read_authorities(path: &Path) -> Result<PemFile, RedisTlsError> {
    let file = PemFile::read(AUTHORITIES, path)?;
    let mut trusted = RootCertStore::empty();
    for certificate in file.certificates(AUTHORITIES)? {
        trusted.add(certificate).map_err(|error| file.unfit(AUTHORITIES, error.to_string()))?;
    }
    Ok(file)
}

fn read_identity(certificate: &Path, key: &Path) -> Result<Identity, RedisTlsError> {
    let (certificate, key) = (PemFile::read(CERTIFICATE, certificate)?, PemFile::read(KEY, key)?);
    let chain = certificate.certificates(CERTIFICATE)?;
    match CertifiedKey::from_der(chain, key.key()?, &default_provider()) {
        Ok(_) => Ok(Identity { certificate, key }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(RedisTlsError::KeyDoesNotFit {
            certificate: certificate.path.display().to_string(),
            key: key.path.display().to_string(),
        }),
        Err(rustls::Error::InvalidCertificate(error)) => Err(certificate.unfit(CERTIFICATE, error.to_string())),
        Err(error) => Err(key.unfit(KEY, error.to_string())),
    }
}

/// Why the two do not understand each other, where an error that is no reply comes of that: whoever asks again without
/// changing anything gets it again. What cannot be told from the error, the port is asked.
pub(super) fn misunderstanding(address: &RedisAddress, error: &RedisError) -> Option<String> {
    match &address.place {
        RedisPlace::Tls { host, port } => match of_tls(error) {
            Some(rustls::Error::InvalidCertificate(why)) => Some(untrusted(why, host, address)),
            Some(rustls::Error::AlertReceived(alert)) => Some(turned_away(*alert, address)),
            // A Redis without TLS waits for the end of what it takes for a line, or calls it nonsense.
            _ if speaks_plainly(host, *port) => Some(
                "a Redis without TLS listens there; give the port of its tls-port, or redis:// for this one".into(),
            ),
            Some(rustls::Error::InvalidMessage(_)) => {
                Some("what listens there speaks no TLS; check host and port".into())
            }
            Some(error) => Some(format!("TLS: {error}")),
            None => None,
        },
        RedisPlace::Tcp { host, port } if !error.is_timeout() && speaks_tls(host, *port) => {
            Some("what listens there speaks TLS; give rediss:// for it, or the port of a Redis without TLS".into())
        }
        RedisPlace::Tcp { .. } | RedisPlace::Unix(_) => None,
    }
}

/// What kept a connection from being tried, where that is no fault of the network.
pub(super) fn not_tried(address: &RedisAddress, error: &RedisError) -> Option<String> {
    let RedisPlace::Tls { .. } = address.place else { return None };
    let of_network = cause(error).is_none_or(|cause| cause.is::<std::io::Error>());
    // The client reads them at each connection, also where others are given.
    let advice = "the certificates that this system trusts are where SSL_CERT_FILE and SSL_CERT_DIR say, or else in a \
                  directory of its own";
    (!of_network).then(|| format!("{error}; {advice}"))
}

/// The error of TLS inside.
fn of_tls(error: &RedisError) -> Option<&rustls::Error> {
    let mut cause = cause(error)?;
    loop {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        cause = match cause.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref()?,
            None => cause.source()?,
        };
    }
}

/// What an error comes from.
fn cause(error: &RedisError) -> Option<&(dyn Error + 'static)> {
    let source = error.source()?;
    match source.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => Some(&**shared),
        None => Some(source),
    }
}

fn untrusted(why: &CertificateError, host: &str, address: &RedisAddress) -> String {
    use CertificateError as E;
    match why {
        // The latter where another authority has the same name.
        E::UnknownIssuer | E::BadSignature => match &address.tls.authorities {
            Some(file) => format!(
                "its certificate is signed by nobody in {}; give the certificate of its authority in --redis-ca",
                file.path.display()
            ),
            None => {
                "its certificate is signed by nobody whom this system trusts; give the certificate of its authority in \
                     --redis-ca"
                    .to_owned()
            }
        },
        E::Expired | E::ExpiredContext { .. } => {
            "its certificate is expired; renew it, or set the clock of this machine if that is wrong".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this machine wrong?".to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            let names = match why {
                E::NotValidForNameContext { presented, .. } if !presented.is_empty() => presented.join(", "),
                _ => "no name at all".to_owned(),
            };
            format!(
                "its certificate is not for {host} but for {names}; address it by a name in there, or make one with this \
                 name as its subjectAltName"
            )
        }
        // Most who sign a certificate with its own key meet this.
        E::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority itself (CA:TRUE); make one for the server, signed by that"
                .to_owned()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

/// The server closed the conversation, and said why.
fn turned_away(alert: AlertDescription, address: &RedisAddress) -> String {
    use AlertDescription as A;
    match (alert, address.tls.identity.as_deref()) {
        (A::CertificateRequired | A::HandshakeFailure, None) => {
            "it wants a certificate of its clients; give one in --redis-cert and its key in --redis-key".to_owned()
        }
        (_, Some(Identity { certificate, .. })) => {
            format!("it does not take the certificate in {} ({alert:?}); ask who runs it", certificate.path.display())
        }
        (_, None) => format!("it ended TLS with {alert:?}; its log says why"),
    }
}

/// Longer than an answer to a few bytes takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Whether a certificate can be for that host.
pub(super) fn has_name(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// Whether a Redis without TLS listens there. It is not told who asks.
fn speaks_plainly(host: &str, port: u16) -> bool {
    matches!(answer_to(b"PING\r\n", host, port), Some(b'+' | b'-'))
}

/// Whether something that speaks TLS listens there.
fn speaks_tls(host: &str, port: u16) -> bool {
    // The kinds of its records: a handshake that goes on, or an alert.
    hello(host).is_some_and(|hello| matches!(answer_to(&hello, host, port), Some(0x16 | 0x15)))
}

/// What a conversation in TLS begins with.
fn hello(host: &str) -> Option<Vec<u8>> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).ok()?.write_tls(&mut hello).ok()?;
    Some(hello)
}

/// The first byte that is answered.
fn answer_to(words: &[u8], host: &str, port: u16) -> Option<u8> {
    let mut addresses = (host, port).to_socket_addrs().ok()?;
    let mut stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, ANSWER_WITHIN).ok())?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    stream.write_all(words).ok()?;
    let mut first = [0];
    stream.read_exact(&mut first).ok()?;
    Some(first[0])
}
