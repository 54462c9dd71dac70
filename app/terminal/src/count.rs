//! Numbers and counts for people.

/// A number with its digits in groups of three: `-1,234,567`.
#[must_use]
pub fn grouped(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of something whose plural ends in s: `1 row`, `2,000 rows`.
#[must_use]
pub fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// With the verb: `1 row was`, `2 rows were`.
#[must_use]
pub fn counted_were(count: u64, what: &str) -> String {
    format!("{} {}", counted(count, what), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (-999, "-999"),
            (1000, "1,000"),
            (-1000, "-1,000"),
            (123_456, "123,456"),
            (i128::from(i64::MIN), "-9,223,372,036,854,775,808"),
            (1 << 64, "18,446,744,073,709,551,616"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!([counted(1u64, "row"), counted(1000u64, "row")], ["1 row", "1,000 rows"]);
        assert_eq!([counted_were(1, "row"), counted_were(0, "row")], ["1 row was", "0 rows were"]);
    }
}
