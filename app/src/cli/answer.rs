//! What a command answers, as text or as one JSON object.

use std::ffi::OsString;

use clap::ValueEnum;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;
use serde_json::{Map, Value};
use terminal::{Exit, Failure};

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One object with stable snake_case keys
    Json,
}

impl Format {
    /// As asked for by arguments that may be wrong otherwise, so that even wrong usage is answered in it.
    pub(super) fn asked_for(arguments: &[OsString]) -> Self {
        let json = arguments.iter().any(|it| it == "--format=json")
            || arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
        if json { Self::Json } else { Self::Text }
    }
}

/// An answer: its keys for scripts, its text for people, and why it is not the whole answer, where it is not.
#[derive(Debug)]
pub(super) struct Answer {
    keys: Map<String, Value>,
    text: String,
    failure: Option<Failure>,
}

impl Answer {
    /// A whole answer. `keys` becomes an object.
    pub(super) fn new(keys: impl Serialize, text: impl Into<String>) -> Self {
        let keys = match serde_json::to_value(keys) {
            Ok(Value::Object(keys)) => keys,
            other => unreachable!("the keys of an answer are an object: {other:?}"),
        };
        Self { keys, text: text.into(), failure: None }
    }

    /// No answer but a failure.
    pub(super) fn failed(failure: Failure) -> Self {
        Self { keys: Map::new(), text: String::new(), failure: Some(failure) }
    }

    /// The same answer, given although the command failed in the end.
    pub(super) fn but(self, failure: Option<Failure>) -> Self {
        Self { failure, ..self }
    }

    /// Its text for people.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its keys for scripts.
    pub(super) fn keys(&self) -> Value {
        Value::Object(self.keys.clone())
    }

    /// Why it is not the whole answer.
    pub(super) fn into_failure(self) -> Option<Failure> {
        self.failure
    }

    /// Prints the answer to standard output and a failure to standard error; says how the process ends.
    pub(super) fn print(mut self, format: Format) -> Exit {
        let exit = self.failure.as_ref().map_or(Exit::Done, |failure| failure.exit);
        if let Some(failure) = &self.failure {
            failure.tell();
            self.keys.insert("error".to_owned(), failure.line.clone().into());
            self.keys.insert("code".to_owned(), exit.code().into());
            self.keys.insert("kind".to_owned(), failure.kind.into());
        }
        let text = match format {
            Format::Json => Value::Object(self.keys).to_string(),
            Format::Text => self.text,
        };
        if text.is_empty() {
            return exit;
        }
        match terminal::print(text.trim_end()) {
            // A reader that has gone wants no answer, and the work is done. What has failed before is told already.
            Err(unwritten) if unwritten.exit != Exit::ReaderGone && exit == Exit::Done => {
                unwritten.tell();
                unwritten.exit
            }
            _ => exit,
        }
    }
}

/// A table for people, numbers to the right.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line_under_head = TableStyle::new().header_separator(LineStyle::none().fill('─'));
    let mut table = Table::new();
    table.load_style(line_under_head).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
