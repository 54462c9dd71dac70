//! Logs and echoed statements, both on standard error.

use std::fmt;

use clap::ColorChoice;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
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
    let targets = [(database::STATEMENTS, LevelFilter::DEBUG), (database::PARAMETERS, LevelFilter::TRACE)];
    let echo = logging.echo.then(|| Echo.with_filter(Targets::new().with_targets(targets)));
    let _ = tracing_subscriber::registry().with(lines).with(echo).try_init();
}

/// Prints the statements that the driver reports, each on one line, with its parameters, or with
/// them on the next line if they are reported later.
struct Echo;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Echo {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = if fields.text.trim().is_empty() { fields.summary } else { fields.text };
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut parameters = fields.parameters;
        if parameters.is_empty()
            && let Some(span) = context.event_span(event)
            && let Some(fields) = span.extensions().get::<Fields>()
        {
            parameters.clone_from(&fields.parameters);
        }
        if !parameters.is_empty() {
            line += &format!(" -- {}", parameters.replace(char::is_control, "\u{fffd}"));
        }
        say(line.trim_start());
    }
}

/// The driver gives a summary, and the text where the summary leaves something out.
#[derive(Default)]
struct Fields {
    summary: String,
    text: String,
    parameters: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let field = match field.name() {
            "summary" => &mut self.summary,
            "db.statement" => &mut self.text,
            "parameters" => &mut self.parameters,
            _ => return,
        };
        *field = format!("{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
