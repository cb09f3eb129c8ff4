//! A session of commands in the language of [`crate::shell`]: typed at a prompt, given as one text, or read from a pipe.
//! What executes them is an [`Executor`]; here is where they come from, how results are told, and when it ends.

mod history;
mod lines;
mod prompt;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use serde_json::json;
use tokio::sync::Notify;

use super::signals::Signals;
use super::{Failure, Finished, Output, Report, conclude};
use crate::shell::{Command, Grammar, Names, help, nearest, parse_each};
use crate::types::AccountId;
use lines::{Lines, Read};

/// Where the commands of a session come from, and how far it goes.
#[derive(Args, Clone, Debug, Default)]
pub struct SessionArgs {
    /// Commands to run instead of those of stdin, with ; or line ends between them.
    #[arg(short = 'c', long = "commands", value_name = "COMMANDS")]
    pub commands: Option<String>,
    /// In a script, go on after a command that failed.
    #[arg(long)]
    pub keep_going: bool,
}

/// What executes commands.
pub trait Executor {
    /// Executes one, and tells what came of it. Once `stop` is notified nobody waits for that any longer: it returns soon,
    /// and what it began is still named. It is never asked for help, nor to quit.
    fn execute(&mut self, command: Command, stop: &Notify) -> impl Future<Output = Result<Finished, Failure>>;

    /// A prompt is about to be shown: time to learn what it may complete.
    fn prepare(&mut self) {}
}

/// The names that a prompt completes, shared with whoever learns them.
#[derive(Clone, Debug, Default)]
pub struct KnownNames(Arc<Mutex<Names>>);

impl KnownNames {
    /// The names, to read or to add to.
    pub fn lock(&self) -> MutexGuard<'_, Names> {
        // Sets of names are whole whatever happened to the last who held them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session.
pub struct Session {
    /// Whose it is: named in errors, shown by the prompt, and its history is of its own.
    pub program: &'static str,
    /// What can be said.
    pub grammar: Grammar,
    /// How results are told: as JSON, each command's is one line.
    pub output: Output,
    /// What a prompt completes.
    pub names: KnownNames,
    /// Where the commands come from.
    pub arguments: SessionArgs,
}

/// How a session goes on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

/// How far a session came.
struct Progress {
    /// At a prompt errors end nothing.
    prompt: bool,
    /// Whether there can be several lines.
    numbered: bool,
    /// The number of the line.
    line: usize,
    /// The number of the command in it, where it has several.
    command: Option<usize>,
    /// The exit status of the last command that failed.
    status: u8,
}

impl Progress {
    fn new(prompt: bool, numbered: bool) -> Self {
        Self { prompt, numbered, line: 0, command: None, status: 0 }
    }

    /// The number of the line, where an error is to name it. A person sees which line was typed last.
    fn named_line(&self) -> Option<usize> {
        (self.numbered || (self.command.is_some() && !self.prompt)).then_some(self.line)
    }

    /// Which command an error is about, as far as that could be doubted.
    fn place(&self) -> String {
        match (self.named_line(), self.command) {
            (Some(line), Some(command)) => format!("line {line}, command {command}: "),
            (Some(line), None) => format!("line {line}: "),
            (None, Some(command)) => format!("command {command}: "),
            (None, None) => String::new(),
        }
    }
}

/// What to tell where nobody waited for the answer.
pub fn interrupted() -> Failure {
    let message = "interrupted: nobody waited for the answer".to_owned();
    Failure { code: "interrupted", status: 4, message }
}

impl Session {
    /// Whether commands come from a person at a terminal.
    pub fn at_terminal(&self) -> bool {
        self.arguments.commands.is_none() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Runs all commands, and returns the exit status: that of the last one that failed; after a prompt always 0.
    ///
    /// # Errors
    /// Where no session can begin.
    pub async fn run(self, executor: &mut impl Executor) -> Result<u8, Failure> {
        // Before the first command: from then on a signal ends the session, not the process.
        let mut signals = Signals::new()?;
        let prompt = self.at_terminal();
        let (mut lines, numbered) = match &self.arguments.commands {
            Some(text) => (Lines::given(text), text.trim_end().contains('\n')),
            None if prompt => (Lines::typed(self.program, self.grammar, self.names.clone())?, false),
            None => (Lines::piped()?, true),
        };
        let mut progress = Progress::new(prompt, numbered);
        loop {
            if progress.prompt {
                executor.prepare();
            }
            let read = tokio::select! {
                biased;
                _ = signals.next() => Read::End,
                read = lines.next() => read,
            };
            progress.line += 1;
            progress.command = None;
            let then = match read {
                Read::Line(line) => self.line(&line, &mut progress, executor, &mut signals).await,
                Read::Cleared => Then::GoOn,
                Read::End => Then::End,
                Read::Failed(message) => {
                    // No mistake of whoever types: the session failed, at a prompt too.
                    progress.prompt = false;
                    self.tell(Err(Failure::usage(message)), &mut progress);
                    Then::End
                }
            };
            if then == Then::End {
                break;
            }
        }
        lines.leave();
        Ok(if progress.prompt { 0 } else { progress.status })
    }

    /// Runs the commands of one line.
    async fn line(
        &self,
        line: &str,
        progress: &mut Progress,
        executor: &mut impl Executor,
        signals: &mut Signals,
    ) -> Then {
        let commands = parse_each(line, self.grammar);
        let several = commands.len() > 1;
        for (index, command) in commands.into_iter().enumerate() {
            progress.command = several.then_some(index + 1);
            let then = match command {
                Err(error) => self.tell(Err(Failure::usage(error.to_string())), progress),
                Ok(Command::Quit) => Then::End,
                Ok(Command::Help(word)) => {
                    let human = help(word, self.grammar);
                    let json = json!({ "help": human });
                    self.tell(Ok(Report { human, json }.into()), progress)
                }
                Ok(command) => self.execute(command, progress, executor, signals).await,
            };
            if then == Then::End {
                return Then::End;
            }
        }
        Then::GoOn
    }

    async fn execute(
        &self,
        command: Command,
        progress: &mut Progress,
        executor: &mut impl Executor,
        signals: &mut Signals,
    ) -> Then {
        let stop = Notify::new();
        let mut signal = None;
        let (named, debit) = (command.accounts(), command.debit());
        let mut told = {
            let mut told = pin!(executor.execute(command, &stop));
            loop {
                tokio::select! {
                    biased;
                    told = &mut told => break told,
                    name = signals.next() => {
                        // Whoever asks twice does not want to hear what was begun.
                        if signal.replace(name).is_some() {
                            break Err(interrupted());
                        }
                        stop.notify_one();
                    }
                }
            }
        };
        match (&mut told, debit) {
            // What somebody typed, and the bank has, can be completed from now on, whoever opened it.
            (Ok(Finished { status: 0, .. }), _) if progress.prompt => self.names.lock().accounts.extend(named),
            (Err(failure), Some(debit)) => self.or_meant(failure, debit),
            _ => {}
        }
        let then = self.tell(told, progress);
        match signal {
            // At a prompt Ctrl-C ends the command, not the session.
            None => then,
            Some("Ctrl-C") if progress.prompt => then,
            Some(_) => Then::End,
        }
    }

    /// Says that an account whose home does not exist may have been meant for a command: `chian 3 5` reads as a transfer.
    fn or_meant(&self, failure: &mut Failure, debit: AccountId) {
        let command = nearest(debit.home().as_str(), self.grammar).filter(|_| failure.code == "unknown_node");
        if let Some(command) = command {
            failure.message.push_str(&format!("; did you mean the command {command}?"));
        }
    }

    /// Prints what came of a command, and says whether the session goes on.
    fn tell(&self, told: Result<Finished, Failure>, progress: &mut Progress) -> Then {
        let failed = told.is_err();
        let status = match told {
            Ok(Finished { report, status }) => {
                match (report, self.output) {
                    (Some(report), Output::Human) if !report.human.is_empty() => {
                        conclude(report.human.trim_end());
                    }
                    (Some(report), Output::Json) => {
                        conclude(&report.json.to_string());
                    }
                    _ => {}
                }
                status
            }
            Err(failure) => {
                self.tell_failure(&failure, progress);
                failure.status
            }
        };
        if status != 0 {
            progress.status = status;
        }
        // A refusal by the bank is a result; any error leaves open what the rest of a script rests on.
        if (status <= 1 && !failed) || progress.prompt || self.arguments.keep_going {
            return Then::GoOn;
        }
        if !failed && self.output == Output::Human {
            eprintln!("{}the script ends here; --keep-going goes on", self.place(progress));
        }
        Then::End
    }

    fn tell_failure(&self, failure: &Failure, progress: &Progress) {
        let Failure { code, message, .. } = failure;
        if self.output == Output::Human {
            return eprintln!("{}{message}", self.place(progress));
        }
        let mut error = json!({ "code": code, "message": message });
        for (key, number) in [("line", progress.named_line()), ("command", progress.command)] {
            if let Some(number) = number {
                error[key] = json!(number);
            }
        }
        conclude(&json!({ "error": error }).to_string());
    }

    /// What an error on stderr begins with.
    fn place(&self, progress: &Progress) -> String {
        let program = if progress.prompt { String::new() } else { format!("{}: ", self.program) };
        program + &progress.place()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds every account but those of C.
    struct Bank;

    impl Executor for Bank {
        async fn execute(&mut self, command: Command, _: &Notify) -> Result<Finished, Failure> {
            let Command::Balance(account) = command else { panic!("{command:?}") };
            match account.home().as_str() {
                "C" => Err(Failure::usage("there is none")),
                _ => Ok(Finished { report: None, status: 0 }),
            }
        }
    }

    #[actix_rt::test]
    async fn a_prompt_completes_accounts_that_were_typed_and_exist() {
        let names = KnownNames::default();
        let (program, grammar, output) = ("paxbank", Grammar::Bank, Output::Human);
        let session = Session { program, grammar, output, names: names.clone(), arguments: SessionArgs::default() };
        let mut signals = Signals::new().unwrap();
        for (prompt, line) in [(true, "balance x@A; balance y@C"), (false, "balance z@A")] {
            let mut progress = Progress::new(prompt, false);
            session.line(line, &mut progress, &mut Bank, &mut signals).await;
        }
        let known: Vec<_> = names.lock().accounts.iter().map(AccountId::to_string).collect();
        assert_eq!(known, ["x@A"]);
    }
}
