//! Values that several flags take.

use std::time::Duration;

/// More than anybody wants, and no more than clocks and servers can add to a time.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest that one transaction is tried again.
const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A time, as in `90s` or `10m`; it may be nothing.
pub(super) fn time_or_none(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| match text.parse::<f64>() {
        Ok(_) => format!("{error}; as in {text}s or {text}m"),
        Err(_) => error.to_string(),
    })?;
    if time > TIME_MAX { Err("give a time of a year at most".to_owned()) } else { Ok(time) }
}

/// A time that is not nothing.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = time_or_none(text)?;
    if time.is_zero() { Err("give a time above 0, as in 10s".to_owned()) } else { Ok(time) }
}

/// A time from a second to a day, where a bare number is seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().map(Duration::from_secs).or_else(|_| time_or_none(text))?;
    let range = Duration::from_secs(1)..=RETRY_MAX;
    if range.contains(&time) { Ok(time) } else { Err("give a time from 1s to 24h".to_owned()) }
}

/// So many a second: from two a day to a million.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.000_02..=1e6).contains(rate));
    rate.ok_or_else(|| "give a number from 0.00002 to 1000000".to_owned())
}

/// An exponent of Zipf's law: with a larger one nearly every draw is of the first account.
pub(super) fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent: &f64| (0.001..=10.0).contains(exponent));
    exponent.ok_or_else(|| "give a number from 0.001 to 10".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_clock_can_add_is_refused() {
        for text in ["1s", "366days", "0s", "1h 30m"] {
            time_or_none(text).expect(text);
        }
        for text in ["367days", "1000000000years", "18446744073709551615s", "1e300s", "-1s", "60", ""] {
            time_or_none(text).expect_err(text);
        }
        for text in ["0.00002", "1", "1e6"] {
            rate(text).expect(text);
        }
        for text in ["1e-300", "1e-5", "0", "-1", "1e7", "inf", "NaN", "x"] {
            rate(text).expect_err(text);
        }
        for text in ["0", "-1", "1e-300", "11", "1e300", "NaN"] {
            exponent(text).expect_err(text);
        }
        assert_eq!(seconds("60"), seconds("1m"));
        for text in ["0", "500ms", "86401", "25h", "x", "1.5"] {
            seconds(text).expect_err(text);
        }
    }
}
