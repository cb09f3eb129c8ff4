//! What was typed in earlier sessions, in a file of the user's state directory. A prompt without one works as well, so
//! nothing here fails.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// How many lines are remembered.
pub(super) const HISTORY_MAX: usize = 1_000;

/// How much of the file is read, and how long it may get: then the newest lines are written anew.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The lines of earlier sessions, and where this one adds its own.
pub(super) struct History {
    file: Option<PathBuf>,
    lines: Vec<String>,
}

impl History {
    /// That of a program.
    pub(super) fn of(program: &str) -> Self {
        let directory = state_directory(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"));
        Self::in_file(directory.map(|directory| directory.join(program).join("history")))
    }

    fn in_file(file: Option<PathBuf>) -> Self {
        let mut lines = file.as_deref().map(read).unwrap_or_default();
        let too_many = lines.len() > 2 * HISTORY_MAX;
        lines.drain(..lines.len().saturating_sub(HISTORY_MAX));
        let history = Self { file, lines };
        if too_many {
            history.shorten();
        }
        history
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Adds a line, unless it is empty or repeats the last one.
    pub(super) fn add(&mut self, line: &str) {
        let line = line.trim();
        let Some(file) = self.file.as_deref().filter(|_| !line.is_empty()) else { return };
        if self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        let directory = file.parent().unwrap_or(file);
        let added = make(directory).and_then(|()| open(file, true)).and_then(|mut file| writeln!(file, "{line}"));
        if added.is_err() {
            // It will not be better with the next line.
            self.file = None;
        }
        self.lines.push(line.to_owned());
    }

    /// Writes the file anew with what is remembered. Whole or not at all: another session may read it meanwhile.
    fn shorten(&self) {
        let Some(file) = &self.file else { return };
        let new = file.with_extension("new");
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        let written = open(&new, false).and_then(|mut file| file.write_all(text.as_bytes()));
        // Where it cannot be done, the file stays as long as it is, and the next session tries again.
        drop(written.and_then(|()| std::fs::rename(&new, file)));
    }
}

/// `$XDG_STATE_HOME`, or what stands for it; relative paths are to be ignored.
fn state_directory(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |text: Option<OsString>| text.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(state).or_else(|| absolute(home).map(|home| home.join(".local").join("state")))
}

fn read(file: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    let Ok(mut opened) = File::open(file) else { return Vec::new() };
    // The newest lines are the last: of a file that grew too long, the beginning is left out.
    if let Ok(length) = opened.metadata().map(|metadata| metadata.len())
        && length > FILE_BYTES_MAX
    {
        use std::io::{Seek as _, SeekFrom};
        drop(opened.seek(SeekFrom::Start(length - FILE_BYTES_MAX)));
    }
    drop(opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// What people pay whom is nobody else's business.
#[cfg(unix)]
fn open(file: &Path, append: bool) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).write(true).append(append).truncate(!append).mode(0o600).open(file)
}

#[cfg(not(unix))]
fn open(file: &Path, append: bool) -> std::io::Result<File> {
    OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(file)
}

#[cfg(unix)]
fn make(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn make(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_the_state_directory_or_nowhere() {
        let (state, home) = (|| Some("/state".into()), || Some("/home/x".into()));
        assert_eq!(state_directory(state(), home()), Some("/state".into()));
        assert_eq!(state_directory(None, home()), Some("/home/x/.local/state".into()));
        assert_eq!(state_directory(Some("relative".into()), home()), Some("/home/x/.local/state".into()));
        assert_eq!(state_directory(None, None), None);
    }

    #[test]
    fn a_second_session_knows_what_the_first_one_typed_and_no_more_than_fits() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("paxbank").join("history");
        let mut first = History::in_file(Some(file.clone()));
        for line in ["status", " balance A \n", "balance A", "", "status"] {
            first.add(line);
        }
        assert_eq!(History::in_file(Some(file.clone())).lines(), ["status", "balance A", "status"]);
        for n in 0..2 * HISTORY_MAX {
            first.add(&format!("chain {n}"));
        }
        let second = History::in_file(Some(file.clone()));
        assert_eq!((second.lines().len(), second.lines().last().unwrap().as_str()), (HISTORY_MAX, "chain 1999"));
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), HISTORY_MAX, "it was shortened");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut nowhere = History::in_file(Some("/dev/null/history".into()));
        nowhere.add("status");
        assert_eq!(nowhere.lines(), ["status"], "where it cannot be written, the session goes on");
    }
}
