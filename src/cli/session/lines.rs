//! Where the lines of a session come from.

use std::collections::VecDeque;
use std::io::{BufRead, Read as _};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::KnownNames;
use super::prompt::{Prompt, Terminal};
use crate::cli::Failure;
use crate::shell::Grammar;

/// The longest line of a script: no command comes near it.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What was read.
pub(super) enum Read {
    /// A line.
    Line(String),
    /// Ctrl-C at the prompt: what was typed is thrown away.
    Cleared,
    /// There is nothing more.
    End,
    /// It cannot be read; why.
    Failed(String),
}

/// Lines, one after the other.
pub(super) enum Lines {
    /// Of a text.
    Given(VecDeque<String>),
    /// Of stdin.
    Read(Reader),
}

impl Lines {
    pub(super) fn given(text: &str) -> Self {
        Self::Given(text.lines().map(str::to_owned).collect())
    }

    pub(super) fn piped() -> Result<Self, Failure> {
        let read = || {
            let mut input = std::io::stdin().lock();
            move || read_line(&mut input)
        };
        Ok(Self::Read(Reader::spawn(read, None)?))
    }

    pub(super) fn typed(program: &'static str, grammar: Grammar, names: KnownNames) -> Result<Self, Failure> {
        let terminal = Terminal::saved();
        let prompt = move || {
            let mut prompt = Prompt::new(program, grammar, names);
            move || prompt.read()
        };
        Ok(Self::Read(Reader::spawn(prompt, Some(terminal))?))
    }

    pub(super) async fn next(&mut self) -> Read {
        match self {
            Self::Given(lines) => lines.pop_front().map_or(Read::End, Read::Line),
            Self::Read(reader) => reader.next().await,
        }
    }

    /// Nothing more will be read, in the middle of a line perhaps.
    pub(super) fn leave(self) {
        if let Self::Read(Reader { terminal: Some(terminal), .. }) = self {
            terminal.restore();
        }
    }
}

/// Reads stdin in a thread of its own: it blocks, and neither signals nor nodes in this process wait for it.
pub(super) struct Reader {
    wanted: mpsc::Sender<oneshot::Sender<Read>>,
    terminal: Option<Terminal>,
}

impl Reader {
    /// The thread reads only when asked, so that a prompt is shown when it is time. When the process ends, it is in the
    /// middle of reading, and just ends too.
    fn spawn<R: FnMut() -> Read>(
        begin: impl FnOnce() -> R + Send + 'static,
        terminal: Option<Terminal>,
    ) -> Result<Self, Failure> {
        let (wanted, asked) = mpsc::channel::<oneshot::Sender<Read>>();
        let run = move || {
            let mut read = begin();
            while let Ok(reply_to) = asked.recv() {
                drop(reply_to.send(read()));
            }
        };
        #[allow(clippy::disallowed_methods, reason = "it runs nothing of a node, and waits for a person")]
        let spawned = std::thread::Builder::new().name("stdin".to_owned()).spawn(run);
        spawned.map_err(|error| Failure::usage(format!("no thread can be started that reads stdin: {error}")))?;
        Ok(Self { wanted, terminal })
    }

    async fn next(&mut self) -> Read {
        let (reply_to, read) = oneshot::channel();
        if self.wanted.send(reply_to).is_err() {
            return Read::End;
        }
        read.await.unwrap_or(Read::End)
    }
}

fn read_line(input: &mut impl BufRead) -> Read {
    let mut bytes = Vec::new();
    match input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes) {
        Ok(0) => Read::End,
        Ok(count) if count as u64 > LINE_BYTES_MAX => Read::Failed("the line is longer than 64 KiB".to_owned()),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(line) => Read::Line(line),
            Err(_) => Read::Failed("the line is no text in UTF-8; is this a script?".to_owned()),
        },
        Err(error) => Read::Failed(format!("stdin cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_bounded() {
        let mut input = "balance A\nstatus".as_bytes();
        assert!(matches!(read_line(&mut input), Read::Line(line) if line == "balance A\n"));
        assert!(matches!(read_line(&mut input), Read::Line(line) if line == "status"));
        assert!(matches!(read_line(&mut input), Read::End));
        let long = vec![b'x'; 70_000];
        assert!(matches!(read_line(&mut long.as_slice()), Read::Failed(why) if why.contains("64 KiB")));
        assert!(matches!(read_line(&mut &b"\xff\n"[..]), Read::Failed(why) if why.contains("UTF-8")));
    }
}
