//! Stores, and the machine below them. No record is changed, and nothing is taken from a node that uses it.

use std::path::{Path, PathBuf};

use super::Findings;
use crate::cli::check::files;
use crate::render::nodes_text;
use crate::store::{RedbStore, RedisAddress, RedisMemory, RedisStore, StoreAddress, StoreError, audit};

pub(super) fn look(store: &StoreAddress, findings: &mut Findings) {
    let subject = store.to_string();
    match store {
        StoreAddress::Redb(directory) => embedded(&subject, directory, findings),
        StoreAddress::Redis(address) => redis(&subject, address, findings),
        StoreAddress::Memory => {
            findings.warning(&subject, "is gone with its process", "for money, give redb:DIR, redis://... or unix:...");
        }
    }
}

fn embedded(subject: &str, directory: &Path, findings: &mut Findings) {
    if !directory.is_dir() {
        let advice =
            "mend the address, unless the node is to be a new one: to the others, an empty store is a lost disk";
        return findings.problem(subject, "there is no such directory", advice);
    }
    machine::look_at_directory(subject, directory, findings);
    match files(directory) {
        Ok(files) => files.iter().for_each(|path| file(path, findings)),
        Err(failure) if failure.status == 5 => findings.problem(subject, failure.message, None),
        Err(failure) => findings.warning(subject, failure.message, None),
    }
}

fn file(path: &PathBuf, findings: &mut Findings) {
    let subject = path.display().to_string();
    machine::look_at_file(&subject, path, findings);
    match RedbStore::open(path).and_then(|mut store| audit(&mut store)) {
        Ok(audit) => {
            let bank = &audit.home.bank;
            let message =
                format!("intact, node {} of bank {}, height {}", audit.node, audit.genesis.id(), bank.height());
            findings.ok(&subject, message);
        }
        // What a node uses is opened by nobody else: that node checks it whenever it reads.
        Err(StoreError::Locked { .. }) => findings.ok(&subject, "in use by another process, so it was not looked into"),
        Err(error) => findings.problem(&subject, error.to_string(), None),
    }
}

fn redis(subject: &str, address: &RedisAddress, findings: &mut Findings) {
    let faults = match RedisStore::faults(address) {
        Ok(faults) => faults,
        Err(error) => return findings.problem(subject, error.to_string(), None),
    };
    if faults.is_empty() {
        findings.ok(subject, "answers, and keeps what it acknowledged");
    }
    for fault in &faults {
        findings.problem(subject, fault.to_string(), None);
    }
    memory(subject, address, findings);
    match RedisStore::nodes(&RedisAddress { accept_unsafe: true, ..address.clone() }) {
        Ok(nodes) if nodes.is_empty() => {
            findings.warning(subject, "there is no store in it", "to the others, an empty store is a lost disk");
        }
        Ok(nodes) => findings.ok(subject, format!("holds what was stored by {}", nodes_text(&nodes))),
        Err(error) => findings.problem(subject, error.to_string(), None),
    }
}

fn memory(subject: &str, address: &RedisAddress, findings: &mut Findings) {
    match RedisStore::memory(address) {
        Ok(RedisMemory { used, max: Some(max) }) if used >= max => {
            let message =
                format!("its memory is full, {used} bytes of the {max} of its maxmemory: nodes cannot write to it");
            let advice = "raise maxmemory there, remove what else it holds, or give its nodes an --archive; they go on by \
                          themselves";
            findings.problem(subject, message, advice);
        }
        Ok(_) => {}
        Err(error) => findings.problem(subject, error.to_string(), None),
    }
}

#[cfg(unix)]
mod machine {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use rustix::fs::{Access, access, statvfs};

    use super::Findings;

    /// Less than this lasts no day of writing.
    const ROOM_WARNING: u64 = 1 << 30;
    /// Less than this is about to end.
    const ROOM_PROBLEM: u64 = 100 << 20;

    pub(super) fn look_at_directory(subject: &str, directory: &Path, findings: &mut Findings) {
        if access(directory, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let advice = "start the node as the user who owns it, or give that user the right to write there";
            findings.problem(subject, "this user may not write into the directory", advice);
        }
        others(subject, directory, findings);
        match statvfs(directory) {
            Ok(disk) => room(subject, disk.f_bavail.saturating_mul(disk.f_frsize), findings),
            Err(error) => findings.warning(subject, format!("how much room there is cannot be told: {error}"), None),
        }
    }

    pub(super) fn look_at_file(subject: &str, file: &Path, findings: &mut Findings) {
        if access(file, Access::READ_OK | Access::WRITE_OK).is_err() {
            let advice = "start the node as the user who owns it";
            findings.problem(subject, "this user may not read and write it", advice);
        }
        others(subject, file, findings);
    }

    pub(super) fn room(subject: &str, bytes: u64, findings: &mut Findings) {
        let message = format!("{} MiB of room on the disk", bytes >> 20);
        let less = |than: u64| format!("{message}, less than {} MiB", than >> 20);
        let advice = "make room: a node whose disk is full approves and settles nothing, until there is some again";
        match bytes {
            bytes if bytes < ROOM_PROBLEM => findings.problem(subject, less(ROOM_PROBLEM), advice),
            bytes if bytes < ROOM_WARNING => findings.warning(subject, less(ROOM_WARNING), advice),
            _ => findings.ok(subject, message),
        }
    }

    fn others(subject: &str, path: &Path, findings: &mut Findings) {
        let Ok(metadata) = path.metadata() else { return };
        if metadata.permissions().mode() & 0o022 != 0 {
            let message = "other users of this machine may change it";
            findings.warning(subject, message, "take that right away: chmod go-w");
        }
    }
}

#[cfg(not(unix))]
mod machine {
    use std::path::Path;

    use super::Findings;

    pub(super) fn look_at_directory(_: &str, _: &Path, _: &mut Findings) {}

    pub(super) fn look_at_file(_: &str, _: &Path, _: &mut Findings) {}
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::Level;
    use super::*;

    fn levels(findings: &Findings) -> Vec<Level> {
        findings.0.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_a_warning_and_a_full_one_a_problem() {
        let mut findings = Findings::default();
        for bytes in [5 << 30, 500 << 20, 1 << 20] {
            machine::room("redb:A", bytes, &mut findings);
        }
        assert_eq!(levels(&findings), [Level::Ok, Level::Warning, Level::Problem]);
        assert_eq!(findings.0[2].message, "1 MiB of room on the disk, less than 100 MiB");
    }

    #[test]
    fn a_store_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("A");
        let mut findings = Findings::default();
        look(&StoreAddress::Redb(missing.clone()), &mut findings);
        assert_eq!(levels(&findings), [Level::Problem]);
        assert!(!missing.exists());
        let mut findings = Findings::default();
        look(&StoreAddress::Redb(directory.path().to_owned()), &mut findings);
        assert!(findings.0.iter().any(|finding| finding.message.contains("there is no store in")), "{findings:?}");
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn half_a_store_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("A.redb.wal"), "").unwrap();
        let mut findings = Findings::default();
        look(&StoreAddress::Redb(directory.path().to_owned()), &mut findings);
        let told = findings.0.iter().find(|finding| finding.level == Level::Problem).unwrap();
        assert!(told.message.contains("A.redb.wal is there without"), "{findings:?}");
    }

    #[test]
    fn what_others_may_change_and_what_is_damaged_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("A.redb");
        std::fs::write(&file, "no store").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let mut findings = Findings::default();
        look(&StoreAddress::Redb(directory.path().to_owned()), &mut findings);
        let about: Vec<_> = findings.0.iter().filter(|finding| finding.subject.ends_with("A.redb")).collect();
        assert_eq!(about.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Warning, Level::Problem]);
        assert!(about[0].advice.unwrap().contains("chmod go-w"), "{about:?}");
        assert_eq!(std::fs::read(&file).unwrap(), b"no store");
    }
}
