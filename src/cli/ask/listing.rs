//! A long result, printed as it comes: never more of it in memory than a page.

use serde_json::{Value, json};

use crate::cli::{Failure, Finished, Output, Printed, print};

/// How a listing is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// An item to a line, for people.
    Text,
    /// One JSON object, an item to a line.
    Json,
    /// One JSON object on one line, for those who get several results and take each line for one.
    JsonLine,
}

impl From<Output> for Layout {
    fn from(output: Output) -> Self {
        match output {
            Output::Human => Self::Text,
            Output::Json => Self::Json,
        }
    }
}

/// Prints items line by line. As JSON it is one object all the same: `{"HEAD": ..., "ITEMS": [...]}`. Where an item cannot
/// be had in the middle, the object ends with an `error` as its last field.
pub(super) struct Listing {
    layout: Layout,
    count: usize,
    /// What became of what was printed so far: `head` goes away in the middle.
    printed: Printed,
}

impl Listing {
    /// Begins with fields of the object, and the name of the array.
    pub(super) fn begin(layout: Layout, head: &[(&str, Value)], items: &str) -> Self {
        let mut listing = Self { layout, count: 0, printed: Printed::Yes };
        if layout != Layout::Text {
            let head: String = head.iter().map(|(name, value)| format!("{}:{value},", json!(name))).collect();
            listing.say(&format!("{{{head}{}:[", json!(items)));
        }
        listing
    }

    fn say(&mut self, text: &str) {
        let end = if self.layout == Layout::JsonLine { "" } else { "\n" };
        self.print(&format!("{text}{end}"));
    }

    /// What cannot be written is no reason to end the process: a session goes on, and ends what it began.
    fn print(&mut self, text: &str) {
        if self.is_read() {
            self.printed = print(text);
        }
    }

    /// Whether it is of any use to go on.
    pub(super) fn is_read(&self) -> bool {
        self.printed == Printed::Yes
    }

    pub(super) fn item(&mut self, human: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        match self.layout {
            Layout::Text => self.say(&human()),
            Layout::Json | Layout::JsonLine => self.say(&format!("{comma}{}", json())),
        }
    }

    /// Ends it well; `nothing` is what to tell people where there was no item.
    pub(super) fn end(mut self, nothing: &str) -> Finished {
        match self.layout {
            Layout::Json | Layout::JsonLine => self.print("]}\n"),
            Layout::Text if self.count == 0 => self.say(nothing),
            Layout::Text => {}
        }
        Finished { report: None, status: if self.printed == Printed::Failed { 2 } else { 0 } }
    }

    /// Ends it in the middle.
    pub(super) fn fail(mut self, failure: Failure) -> Result<Finished, Failure> {
        if self.layout == Layout::Text {
            return Err(failure);
        }
        let Failure { code, status, message } = failure;
        self.print(&format!("],\"error\":{}}}\n", json!({ "code": code, "message": message })));
        Ok(Finished { report: None, status })
    }
}
