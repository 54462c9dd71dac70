//! Retries and their causes as text.

use std::collections::BTreeMap;

use terminal::grouped;

/// `3 retries (40001: 2, connection lost: 1)`.
pub(super) fn in_words(causes: &BTreeMap<String, u64>) -> String {
    let total: u64 = causes.values().sum();
    if total == 0 {
        return "no retries".to_owned();
    }
    let cause = |(code, count): (&String, &u64)| {
        format!("{}: {}", if code == "no answer" { "connection lost" } else { code }, grouped(*count))
    };
    let total = if total == 1 { "1 retry".to_owned() } else { format!("{} retries", grouped(total)) };
    format!("{total} ({})", causes.iter().map(cause).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named() {
        let causes = |causes: &[(&str, u64)]| {
            in_words(&causes.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect())
        };
        assert_eq!(causes(&[]), "no retries");
        assert_eq!(causes(&[("conflict", 1)]), "1 retry (conflict: 1)");
        assert_eq!(causes(&[("40001", 1234)]), "1,234 retries (40001: 1,234)");
        assert_eq!(causes(&[("40001", 2), ("no answer", 1)]), "3 retries (40001: 2, connection lost: 1)");
    }
}
