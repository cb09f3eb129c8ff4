//! What is preloaded into nodes, so that their clocks and disks can be made to fail without privileges.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Shim {
    directory: TempDir,
}

impl Shim {
    /// Compiles it.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nemesis/shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(directory.path().join("shim.so"))
            .args([source, "-ldl"])
            .output()
            .expect("a C compiler is installed: tests/all.sh sees to it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let shim = Self { directory };
        shim.shifts_clocks();
        shim
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a node needs in its environment.
    pub fn environment(&self, node: &str) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", text(&self.path("shim.so"))),
            ("NEMESIS_CLOCK", text(&self.path(&format!("{node}.clock")))),
            ("NEMESIS_FULL", text(&self.path(&format!("{node}.full")))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// From now on the wall clock of a node is so many seconds ahead.
    pub fn set_clock(&self, node: &str, seconds: i64) {
        // Read in one piece, or as before: never half a number.
        let new = self.path("new.clock");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, self.path(&format!("{node}.clock"))).unwrap();
    }

    /// The disk of a node is full, or has room again.
    pub fn set_full(&self, node: &str, full: bool) {
        let path = self.path(&format!("{node}.full"));
        if full { std::fs::write(path, "").unwrap() } else { std::fs::remove_file(path).unwrap() }
    }

    /// Whether a write of a node failed since this was asked last.
    pub fn was_full(&self, node: &str) -> bool {
        std::fs::remove_file(self.path(&format!("{node}.full.hit"))).is_ok()
    }

    /// A shim that is not loaded would make every clock right.
    fn shifts_clocks(&self) {
        let time = |environment: &[(String, String)]| -> i64 {
            let date = Command::new("date").arg("+%s").envs(environment.iter().cloned()).output().unwrap();
            String::from_utf8(date.stdout).unwrap().trim().parse().unwrap()
        };
        self.set_clock("date", -1_000_000);
        let (real, shifted) = (time(&[]), time(&self.environment("date")));
        assert!((-1_000_000..-999_000).contains(&(shifted - real)), "{real}, {shifted}");
    }
}
