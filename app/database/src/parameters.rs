//! A statement's parameters, for logs.

use sea_orm::{Statement, Value};
use sea_orm_retry::Observer;
use tracing::Span;

/// The target, at TRACE, of the spans in which runs send their statements, and of an event after
/// each other statement. The field `parameters` shows those of the statement, secrets included.
pub const PARAMETERS: &str = "database::parameters";

/// Longer lists are cut short.
const LIST_MAX: usize = 10;
/// The values that are left of them.
const LIST_CUT: usize = 3;
/// Characters of a value's text.
const TEXT_MAX: usize = 80;

/// Shows the parameters of the statements of runs: the driver logs each inside its span.
#[derive(Clone, Copy, Debug)]
pub struct Parameters;

impl Observer for Parameters {
    fn statement_began(&self, statement: &Statement) -> Span {
        match values(statement) {
            [] => Span::none(),
            values => tracing::trace_span!(target: PARAMETERS, "statement", parameters = %list(values)),
        }
    }
}

/// Logs the parameters of a statement that was sent outside any run.
pub(crate) fn log_parameters(statement: &Statement) {
    if let values @ [_, ..] = values(statement) {
        tracing::trace!(target: PARAMETERS, parameters = %list(values));
    }
}

fn values(statement: &Statement) -> &[Value] {
    statement.values.as_ref().map_or(&[], |values| &values.0)
}

/// Values in brackets, as SeaQuery writes them: `[1, 'a', NULL]`, `[1, 2, 3, … 97 more]`.
fn list(values: &[Value]) -> String {
    let shown = if values.len() > LIST_MAX { LIST_CUT } else { values.len() };
    let mut texts: Vec<String> = values[..shown].iter().map(text).collect();
    if shown < values.len() {
        texts.push(format!("… {} more", values.len() - shown));
    }
    format!("[{}]", texts.join(", "))
}

fn text(value: &Value) -> String {
    if let Value::Array(_, Some(values)) = value {
        return list(values);
    }
    // SeaQuery panics at characters that are not ASCII.
    let text = match value {
        Value::Char(Some(character)) => format!("'{character}'"),
        value => value.to_string(),
    };
    match text.char_indices().nth(TEXT_MAX) {
        None => text,
        Some((end, _)) => format!("{}… {} characters more", &text[..end], text[end..].chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_are_whole() {
        let values = [1_i64.into(), "it's".into(), Value::Int(None)];
        assert_eq!(list(&values), "[1, 'it\\'s', NULL]");
        assert_eq!(list(&[]), "[]");
    }

    #[test]
    fn long_lists_are_cut() {
        let numbers = |count: i32| (0..count).map(Value::from).collect::<Vec<_>>();
        assert_eq!(list(&numbers(10)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]");
        assert_eq!(list(&numbers(100)), "[0, 1, 2, … 97 more]");
    }

    #[test]
    fn arrays_are_lists() {
        let numbers: Vec<i64> = (0..11).collect();
        assert_eq!(list(&[numbers.into(), 5.into()]), "[[0, 1, 2, … 8 more], 5]");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(list(&['é'.into()]), "['é']");
        let shown = list(&["é".repeat(100).into()]);
        assert_eq!(shown, format!("['{}… 22 characters more]", "é".repeat(79)));
    }
}
