//! `paxbank completions` and `paxbank man`: made out of the arguments themselves, so that they cannot be outdated.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use super::{Arguments, Failure, Report};

/// Prints a script that completes commands and flags in a shell.
#[derive(Args)]
#[command(before_long_help = "Examples:
  paxbank completions bash > ~/.local/share/bash-completion/completions/paxbank
  paxbank completions zsh > ~/.zfunc/_paxbank
  paxbank completions fish > ~/.config/fish/completions/paxbank.fish")]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Report {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "paxbank", &mut script);
        let human = String::from_utf8_lossy(&script).into_owned();
        let json = json!({ "shell": self.shell.to_string(), "script": human });
        Report { human, json }
    }
}

/// Makes manual pages: that of paxbank itself on stdout, or one for each command in a directory.
#[derive(Args)]
#[command(before_long_help = "Examples:
  paxbank man | man -l -
  paxbank man ~/.local/share/man/man1          then: man paxbank-transfer")]
pub(super) struct Manual {
    /// The directory for all pages, made if it is missing; pages that are there are written over.
    directory: Option<PathBuf>,
}

impl Manual {
    pub(super) fn only_tells(&self) -> bool {
        self.directory.is_none()
    }

    pub(super) fn run(&self) -> Result<Report, Failure> {
        let mut whole = Arguments::command().disable_help_subcommand(true);
        whole.build();
        let Some(directory) = &self.directory else {
            let page = page(whole)?;
            return Ok(Report { json: json!({ "page": page }), human: page });
        };
        let cannot = |error| {
            let shown = directory.display();
            Failure::usage(format!("{shown}: pages cannot be written there: {error}; give another directory"))
        };
        std::fs::create_dir_all(directory).map_err(cannot)?;
        let mut files = Vec::new();
        for command in whole.get_subcommands().cloned().chain([whole.clone()]) {
            let name = format!("{}.1", command.get_display_name().unwrap_or_else(|| command.get_name()));
            let file = directory.join(name);
            std::fs::write(&file, page(command)?).map_err(cannot)?;
            files.push(file.display().to_string());
        }
        Ok(Report { human: files.join("\n"), json: json!({ "pages": files }) })
    }
}

/// The page of one command: the examples of its help come first here too, line by line as they stand there.
fn page(command: Command) -> Result<String, Failure> {
    let examples = command.get_before_long_help().map(ToString::to_string).unwrap_or_default();
    let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let (has_arguments, has_commands) = (command.get_arguments().next().is_some(), command.has_subcommands());
    let man = Man::new(command).source(concat!("paxbank ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let rendered = (|| {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        verbatim("EXAMPLES", examples.strip_prefix("Examples:\n").unwrap_or(&examples)).to_writer(&mut page)?;
        man.render_description_section(&mut page)?;
        if has_arguments {
            man.render_options_section(&mut page)?;
        }
        if has_commands {
            man.render_subcommands_section(&mut page)?;
        }
        paragraphs("NOTES", &notes).to_writer(&mut page)
    })();
    rendered.map_err(|error: std::io::Error| Failure::usage(format!("the page cannot be made: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn verbatim(heading: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    if !text.is_empty() {
        roff.control("SH", [heading]).control("nf", []);
        for line in text.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn paragraphs(heading: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    if !text.is_empty() {
        roff.control("SH", [heading]);
        for line in text.lines() {
            match line {
                "" => roff.control("PP", []),
                line => roff.text([roman(line)]),
            };
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples_and_flags() {
        let directory = tempfile::tempdir().unwrap();
        Manual { directory: Some(directory.path().join("man1")) }.run().unwrap();
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            let page = std::fs::read_to_string(directory.path().join(format!("man1/paxbank-{name}.1"))).unwrap();
            // A plain hyphen would be one of text, which a shell does not take.
            let example = format!("paxbank {}", name.replace('-', "\\-"));
            assert!(page.contains(".SH EXAMPLES") && page.contains(&example), "{page}");
            assert!(page.contains(".SH OPTIONS") && page.contains("output"), "{page}");
        }
        let page = Manual { directory: None }.run().unwrap().human;
        assert!(page.contains("paxbank\\-transfer(1)"), "{page}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = Completions { shell }.run().human;
            assert!(script.contains("transfer") && script.contains("follow"), "{shell}");
        }
    }
}
