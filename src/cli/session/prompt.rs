//! The prompt: a line editor that completes, with a history.

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor};

use super::KnownNames;
use super::history::{HISTORY_MAX, History};
use super::lines::Read;
use crate::shell::{Grammar, complete};

/// A prompt on the terminal.
pub(super) struct Prompt {
    text: String,
    editor: Result<Editor<Help, MemHistory>, String>,
    history: History,
}

impl Prompt {
    pub(super) fn new(program: &str, grammar: Grammar, names: KnownNames) -> Self {
        let history = History::of(program);
        let editor = editor(&history, Help { grammar, names }).map_err(|error| error.to_string());
        Self { text: format!("{program}> "), editor, history }
    }

    /// Shows it, and reads a line.
    pub(super) fn read(&mut self) -> Read {
        let editor = match &mut self.editor {
            Ok(editor) => editor,
            Err(error) => return Read::Failed(format!("this terminal cannot be used: {error}")),
        };
        match editor.readline(&self.text) {
            Ok(line) => {
                self.history.add(&line);
                Read::Line(line)
            }
            Err(ReadlineError::Interrupted) => Read::Cleared,
            Err(ReadlineError::Eof) => Read::End,
            Err(error) => Read::Failed(format!("the terminal cannot be read: {error}")),
        }
    }
}

fn editor(history: &History, help: Help) -> rustyline::Result<Editor<Help, MemHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .auto_add_history(true)
        // Its end would have to be told to the terminal by whoever ends the process in the middle of a line.
        .bracketed_paste(false)
        .build();
    let remembered = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, remembered)?;
    editor.set_helper(Some(help));
    for line in history.lines() {
        editor.add_history_entry(line.as_str())?;
    }
    Ok(editor)
}

/// What helps while typing.
struct Help {
    grammar: Grammar,
    names: KnownNames,
}

impl Completer for Help {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let (start, mut candidates) = complete(&line[..at], self.grammar, &self.names.lock());
        if let [only] = candidates.as_mut_slice() {
            only.push(' ');
        }
        Ok((start, candidates))
    }
}

impl Hinter for Help {
    type Hint = String;
}

impl Highlighter for Help {}

impl Validator for Help {}

impl rustyline::Helper for Help {}

/// How the terminal was before the prompt: where the process ends in the middle of a line, it is left so.
#[cfg(unix)]
pub(super) struct Terminal(Option<nix::sys::termios::Termios>);

#[cfg(unix)]
impl Terminal {
    pub(super) fn saved() -> Self {
        Self(nix::sys::termios::tcgetattr(std::io::stdin()).ok())
    }

    pub(super) fn restore(self) {
        if let Some(saved) = self.0 {
            // Nobody is left to be told that it cannot be.
            nix::sys::termios::tcsetattr(std::io::stdin(), nix::sys::termios::SetArg::TCSADRAIN, &saved).ok();
        }
    }
}

/// Elsewhere the terminal's state ends with the process.
#[cfg(not(unix))]
pub(super) struct Terminal;

#[cfg(not(unix))]
impl Terminal {
    pub(super) fn saved() -> Self {
        Self
    }

    pub(super) fn restore(self) {}
}
