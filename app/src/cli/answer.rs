//! A command's answer, as text or as one JSON object.

use std::ffi::OsString;

use clap::ValueEnum;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;
use serde_json::{Map, Value};
use terminal::{Exit, Failure};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One object with stable snake_case keys
    Json,
}

impl Format {
    /// The format in arguments that may not parse, so that wrong usage is answered in it too.
    pub(super) fn asked_for(arguments: &[OsString]) -> Self {
        let json = arguments.iter().any(|it| it == "--format=json")
            || arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
        if json { Self::Json } else { Self::Text }
    }
}

/// Keys for scripts, text for people, and the failure if the answer is incomplete.
#[derive(Debug)]
pub(super) struct Answer {
    keys: Map<String, Value>,
    text: String,
    failure: Option<Failure>,
}

impl Answer {
    /// `keys` becomes an object.
    pub(super) fn new(keys: impl Serialize, text: impl Into<String>) -> Self {
        let keys = match serde_json::to_value(keys) {
            Ok(Value::Object(keys)) => keys,
            other => unreachable!("the keys of an answer are an object: {other:?}"),
        };
        Self { keys, text: text.into(), failure: None }
    }

    pub(super) fn failed(failure: Failure) -> Self {
        Self { keys: Map::new(), text: String::new(), failure: Some(failure) }
    }

    pub(super) fn with_failure(self, failure: Option<Failure>) -> Self {
        Self { failure, ..self }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn keys(&self) -> Value {
        Value::Object(self.keys.clone())
    }

    pub(super) fn into_failure(self) -> Option<Failure> {
        self.failure
    }

    /// Prints the answer to standard output and the failure to standard error.
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
            // The work is done if the reader has gone, and an earlier failure is printed already.
            Err(unwritten) if unwritten.exit != Exit::ReaderGone && exit == Exit::Done => {
                unwritten.tell();
                unwritten.exit
            }
            _ => exit,
        }
    }
}

/// A table, aligned to the right.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line_under_head = TableStyle::new().header_separator(LineStyle::none().fill('─'));
    let mut table = Table::new();
    table.load_style(line_under_head).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
