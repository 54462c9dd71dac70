//! Counts in words.

/// A count with a noun whose plural ends in s: `1 row`, `2 rows`.
#[must_use]
pub fn counted(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// With the verb: `1 row was`, `2 rows were`.
#[must_use]
pub fn counted_were(count: u64, what: &str) -> String {
    format!("{} {}", counted(count, what), if count == 1 { "was" } else { "were" })
}
