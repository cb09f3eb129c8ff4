//! A long result, printed as it comes: never more of it in memory than a page.

use serde_json::{Value, json};

use crate::cli::{Failure, Finished, Output, say};

/// Prints items line by line. As JSON it is one object all the same: `{"HEAD": ..., "ITEMS": [...]}`, one item to a line.
/// Where an item cannot be had in the middle, the object ends with an `error` as its last field.
pub(super) struct Listing {
    output: Output,
    count: usize,
}

impl Listing {
    /// Begins with fields of the object, and the name of the array.
    pub(super) fn begin(output: Output, head: &[(&str, Value)], items: &str) -> Self {
        if output == Output::Json {
            let head: String = head.iter().map(|(name, value)| format!("{}:{value},", json!(name))).collect();
            say(&format!("{{{head}{}:[", json!(items)));
        }
        Self { output, count: 0 }
    }

    pub(super) fn item(&mut self, human: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        match self.output {
            Output::Human => say(&human()),
            Output::Json => say(&format!("{comma}{}", json())),
        }
    }

    /// Ends it well; `nothing` is what to tell people where there was no item.
    pub(super) fn end(self, nothing: &str) -> Finished {
        match self.output {
            Output::Json => say("]}"),
            Output::Human if self.count == 0 => say(nothing),
            Output::Human => {}
        }
        Finished { report: None, status: 0 }
    }

    /// Ends it in the middle.
    pub(super) fn fail(self, failure: Failure) -> Result<Finished, Failure> {
        if self.output == Output::Human {
            return Err(failure);
        }
        let Failure { code, status, message } = failure;
        say(&format!("],\"error\":{}}}", json!({ "code": code, "message": message })));
        Ok(Finished { report: None, status })
    }
}
