//! Certificates of a test's own, made by the `openssl` command in a directory of its own.

use std::process::Command;

use tempfile::TempDir;

/// An authority, and whatever it signs.
pub struct Authority {
    directory: TempDir,
}

/// `openssl ca` is the one part of it that takes any dates.
const SETTINGS: &str = "[ca]\ndefault_ca = of_test\n[of_test]\nnew_certs_dir = .\ndatabase = index.txt\nserial = serial\n\
                        default_md = sha256\nunique_subject = no\npolicy = any\n[any]\ncommonName = supplied\n";

impl Authority {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("ca.conf", SETTINGS), ("index.txt", ""), ("serial", "01\n")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let authority = Self { directory };
        authority.key_with("ca", &["-x509", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority"]);
        authority
    }

    /// Signs a certificate `NAME.pem`, with its key in `NAME.key`, for a server at `place`: `IP:127.0.0.1`.
    pub fn sign(&self, name: &str, place: &str) {
        self.sign_until(name, place, "20990101000000Z");
    }

    /// The same, valid until then.
    pub fn sign_until(&self, name: &str, place: &str, end: &str) {
        let request = format!("{name}.csr");
        self.key_with(name, &["-out", &request, "-subj", &format!("/CN={name}")]);
        std::fs::write(self.directory.path().join("extensions"), format!("subjectAltName={place}\n")).unwrap();
        let dates = ["-startdate", "20200101000000Z", "-enddate", end];
        let signed = ["-in", &request, "-out", &format!("{name}.pem"), "-extfile", "extensions", "-notext", "-batch"];
        let of = ["ca", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key"];
        self.openssl(&[&of[..], &dates, &signed].concat());
    }

    fn key_with(&self, name: &str, more: &[&str]) {
        let key = format!("{name}.key");
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", &key];
        self.openssl(&[&new[..], more].concat());
    }

    pub fn openssl(&self, arguments: &[&str]) {
        let run = Command::new("openssl").args(arguments).current_dir(self.directory.path()).output();
        let output = run.expect("openssl is installed: tests/all.sh sees to it");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The path of a file in its directory.
    pub fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a Redis must be told to show `NAME.pem`, and to want a certificate of its clients or not.
    pub fn of_server(&self, name: &str, clients: &str) -> Vec<String> {
        let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        let settings = [
            ("cert-file", certificate.as_str()),
            ("key-file", &key),
            ("ca-cert-file", &self.file("ca.pem")),
            ("auth-clients", clients),
        ];
        settings.iter().flat_map(|(name, value)| [format!("--tls-{name}"), (*value).to_owned()]).collect()
    }
}
