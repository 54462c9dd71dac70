//! Values of flags that several commands share.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;

/// The longest time that clocks and servers can add to the present.
pub(super) const LONGEST: &str = "366d";

/// More digits than any time in range has. humantime overflows on some sums of larger numbers.
const DIGITS_MAX: usize = 15;

/// The parser of every flag that takes a time: numbers with a unit, as in `500ms` or `1m30s`, or
/// seconds without one. `least` and `most` are times, too; the message names them.
pub(super) fn time(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| {
        let is_in_range = |time: &Duration| (parsed(least)..=parsed(most)).contains(&Some(*time));
        parsed(text).filter(is_in_range).ok_or_else(|| {
            format!(
                "give a time from {least} to {most}, as in 500ms, 30s or 1m30s; without a unit it is seconds"
            )
        })
    }
}

fn parsed(text: &str) -> Option<Duration> {
    if text.bytes().filter(u8::is_ascii_digit).count() > DIGITS_MAX {
        return None;
    }
    let is_bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    humantime::parse_duration(&if is_bare { format!("{text}s") } else { text.to_owned() }).ok()
}

/// The parser of `--concurrency`: no more than a pool can have connections.
pub(super) fn concurrency() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=10_000)
}

/// The parser of `--rate`: from two a day to a million a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.000_02..=1e6).contains(rate));
    rate.ok_or_else(|| "give a number from 0.00002 to 1000000".to_owned())
}

/// The parser of `--zipf`. With a larger exponent nearly every draw is the first account.
pub(super) fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent: &f64| (0.001..=10.0).contains(exponent));
    exponent.ok_or_else(|| "give a number from 0.001 to 10".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        let time = time("1ms", "24h");
        for (text, milliseconds) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("1.5", 1500),
            ("500ms", 500),
            ("1ms", 1),
            ("1m30s", 90_000),
            ("1h 30m", 5_400_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "-5",
            "-5s",
            "+5",
            "1.5x",
            ".",
            "5.",
            "1e3",
            "0",
            "0s",
            "1us",
            "86401",
            "1d 1s",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551615s1000ms",
            "1000000000years",
            "NaN",
            "soon",
        ] {
            let refused = time(text).expect_err(text);
            assert!(refused.starts_with("give a time from 1ms to 24h, "), "{refused}");
        }
    }

    #[test]
    fn a_time_may_be_zero_where_its_range_says_so() {
        let time = time("0s", LONGEST);
        assert_eq!(["0", "0s", "0ms"].map(&time), [const { Ok(Duration::ZERO) }; 3]);
        time("366d").expect("the longest");
        time("367d").expect_err("too long");
    }

    #[test]
    fn rates_and_exponents_have_bounds() {
        for text in ["0.00002", "1", "1e6"] {
            rate(text).expect(text);
        }
        for text in ["1e-300", "1e-5", "0", "-1", "1e7", "inf", "NaN", "x"] {
            rate(text).expect_err(text);
        }
        for text in ["0", "-1", "1e-300", "11", "1e300", "NaN"] {
            exponent(text).expect_err(text);
        }
    }
}
