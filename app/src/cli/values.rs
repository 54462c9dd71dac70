//! Values that several flags take.

use std::time::Duration;

/// A time that is not nothing.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("give a time above 0, as in 10s".to_owned()) } else { Ok(time) }
}

/// A number above 0.
pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "give a number above 0".to_owned())
}
