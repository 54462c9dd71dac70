//! Logs and echoed statements, both on standard error.

use std::fmt::{self, Write as _};

use clap::ColorChoice;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::color;
use crate::print::Log;
use crate::say;

/// What to write to standard error beside progress and failures.
#[derive(Clone, Copy, Debug)]
pub struct Logging {
    /// What is logged where RUST_LOG says nothing, in its own syntax.
    pub default: &'static str,
    /// Whether every SQL statement is printed as it was sent.
    pub echo: bool,
    /// Whether to colour the log.
    pub color: ColorChoice,
}

/// Starts logging for the process; a second call changes nothing.
pub fn start_logging(logging: Logging) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(logging.default));
    let colours = color::on_standard_error(logging.color);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Log).with_ansi(colours).with_filter(filter);
    let statements = Targets::new().with_target(database::STATEMENTS, LevelFilter::DEBUG);
    let echo = logging.echo.then(|| Echo.with_filter(statements));
    let _ = tracing_subscriber::registry().with(lines).with(echo).try_init();
}

/// Prints the statements that the driver reports, each on one line.
struct Echo;

impl<S: Subscriber> Layer<S> for Echo {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = if statement.text.trim().is_empty() { statement.summary } else { statement.text };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        say(&text);
    }
}

/// The driver gives a summary, and the text where the summary leaves something out.
#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
}

impl Visit for Statement {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "summary" => write!(self.summary, "{value:?}"),
            "db.statement" => write!(self.text, "{value:?}"),
            _ => Ok(()),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.text),
            _ => {}
        }
    }
}
