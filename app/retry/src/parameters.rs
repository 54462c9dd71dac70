//! A statement's parameters, for logs.

use std::fmt::{self, Display, Formatter};

use sea_orm::{Statement, Value};
use tracing::Span;

/// Longer lists are cut short.
const LIST_MAX: usize = 10;
/// The values that are left of them.
const LIST_CUT: usize = 3;
/// Characters of a value's text.
const TEXT_MAX: usize = 80;

/// A span at TRACE, target `sea_orm_retry::parameters`, with the field `parameters`. The driver logs
/// the statement inside it. Disabled for a statement without parameters.
pub(crate) fn span(statement: &Statement) -> Span {
    list(statement).map_or_else(
        Span::none,
        |list| tracing::trace_span!(target: "sea_orm_retry::parameters", "statement", parameters = %list),
    )
}

/// Logs the parameters of a statement that was sent outside any run: an event at TRACE, with the
/// target and field of the spans in which runs send theirs. Give it to
/// [`set_metric_callback`](sea_orm::DatabaseConnection::set_metric_callback).
pub fn log_parameters(statement: &Statement) {
    if let Some(list) = list(statement) {
        tracing::trace!(target: "sea_orm_retry::parameters", parameters = %list);
    }
}

fn list(statement: &Statement) -> Option<List<'_>> {
    statement.values.as_ref().filter(|values| !values.0.is_empty()).map(|values| List(&values.0))
}

/// Shows values in brackets, as SeaQuery writes them: `[1, 'a', NULL]`, `[1, 2, 3, … 97 more]`.
struct List<'a>(&'a [Value]);

impl Display for List<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let shown = if self.0.len() > LIST_MAX { LIST_CUT } else { self.0.len() };
        out.write_str("[")?;
        for (place, value) in self.0[..shown].iter().enumerate() {
            out.write_str(if place > 0 { ", " } else { "" })?;
            show(value, out)?;
        }
        match self.0.len() - shown {
            0 => out.write_str("]"),
            more => write!(out, ", … {more} more]"),
        }
    }
}

fn show(value: &Value, out: &mut Formatter<'_>) -> fmt::Result {
    #[cfg(feature = "postgres")]
    if let Value::Array(_, Some(values)) = value {
        return List(values).fmt(out);
    }
    // SeaQuery panics at characters that are not ASCII.
    let text = match value {
        Value::Char(Some(character)) => format!("'{character}'"),
        value => value.to_string(),
    };
    match text.char_indices().nth(TEXT_MAX) {
        None => out.write_str(&text),
        Some((end, _)) => write!(out, "{}… {} characters more", &text[..end], text[end..].chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_are_whole() {
        let values = [1_i64.into(), "it's".into(), Value::Int(None)];
        assert_eq!(List(&values).to_string(), "[1, 'it\\'s', NULL]");
        assert_eq!(List(&[]).to_string(), "[]");
    }

    #[test]
    fn long_lists_are_cut() {
        let numbers = |count: i32| (0..count).map(Value::from).collect::<Vec<_>>();
        assert_eq!(List(&numbers(10)).to_string(), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]");
        assert_eq!(List(&numbers(100)).to_string(), "[0, 1, 2, … 97 more]");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn arrays_are_lists() {
        let numbers: Vec<i64> = (0..11).collect();
        assert_eq!(List(&[numbers.into(), 5.into()]).to_string(), "[[0, 1, 2, … 8 more], 5]");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(List(&['é'.into()]).to_string(), "['é']");
        let shown = List(&["é".repeat(100).into()]).to_string();
        assert_eq!(shown, format!("['{}… 22 characters more]", "é".repeat(79)));
    }
}
