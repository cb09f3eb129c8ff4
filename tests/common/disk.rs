//! The disk below a redis-server, which fails, is slow or is full when a test says so, by what is preloaded into the server.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

pub struct FaultyDisk {
    directory: TempDir,
}

impl FaultyDisk {
    /// One without a fault so far.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(directory.path().join("disk.so"))
            .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/disk.c"), "-ldl"])
            .output()
            .expect("a C compiler is installed: tests/all.sh sees to it");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { directory }
    }

    /// What a server on this disk needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let library = text(self.directory.path().join("disk.so"));
        let faults = text(self.directory.path().to_owned());
        vec![("LD_PRELOAD".to_owned(), library), ("DISK_FAULTS".to_owned(), faults)]
    }

    /// No sync succeeds.
    pub fn fails_to_sync(&self) {
        self.set("sync-fails", "");
    }

    /// Every sync takes so long.
    pub fn syncs_in(&self, time: Duration) {
        self.set("sync-takes", &time.as_millis().to_string());
    }

    /// There is room for half of what is written next, and for no more.
    pub fn is_full(&self) {
        self.set("full", "");
    }

    /// It works again.
    pub fn works(&self) {
        for fault in ["sync-fails", "sync-takes", "full"] {
            drop(std::fs::remove_file(self.directory.path().join(fault)));
        }
    }

    fn set(&self, fault: &str, text: &str) {
        // Whole or not there, whenever the server looks.
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.directory.path().join(fault)).unwrap();
    }
}
