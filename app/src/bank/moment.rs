//! Times: in UTC, in the years 1 to 9999, in whole microseconds, which every server and RFC 3339
//! support. Reading a time of another program beyond that is an error.

use std::sync::LazyLock;

use sea_orm::sea_query::{Expr, ExprTrait, SimpleExpr};
use sea_orm::{ColumnTrait, DbBackend, Value};
use time::format_description::well_known::Rfc3339;
use time::format_description::{self, OwnedFormatItem};
use time::{OffsetDateTime, UtcOffset};

use super::csv::Shown;

/// A time as psql prints it: `2026-01-31 12:00:00.5+01`, with as much of the offset as necessary.
static PRINTED: LazyLock<OwnedFormatItem> = LazyLock::new(|| {
    let format = "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]\
                  [offset_hour sign:mandatory][optional [:[offset_minute][optional [:[offset_second]]]]]";
    format_description::parse_owned::<2>(format).expect("a good format")
});

/// Parses a time of a file.
///
/// # Errors
///
/// The reason in one line, beginning with `name`.
pub(crate) fn parse(name: &str, text: &str) -> Result<OffsetDateTime, String> {
    let given = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(text, &*PRINTED))
        .map_err(|_| format!("the {name} {} is not {}", Shown(text), wanted(text)))?;
    given
        .checked_to_offset(UtcOffset::UTC)
        .filter(|utc| (1..=9999).contains(&utc.year()))
        .and_then(|utc| utc.replace_nanosecond(utc.nanosecond() / 1000 * 1000).ok())
        .ok_or_else(|| format!("the {name} {} is not in the years 1 to 9999 in UTC", Shown(text)))
}

fn wanted(text: &str) -> &'static str {
    let utc = OffsetDateTime::parse(&format!("{text}+00"), &*PRINTED).is_ok()
        || OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).is_ok();
    if utc { "a time with its zone: end it in Z where it is UTC" } else { "a time like 2026-01-31T12:00:00Z" }
}

/// A UTC time in RFC 3339.
#[must_use]
pub fn rfc3339(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

/// A column value. SQLite stores the text format of its CURRENT_TIMESTAMP, which sorts by time.
pub(crate) fn value(moment: OffsetDateTime, backend: DbBackend) -> Value {
    match backend {
        DbBackend::Sqlite => rfc3339(moment).replacen('T', " ", 1).trim_end_matches('Z').into(),
        _ => moment.into(),
    }
}

/// A column's time, or NULL if the driver would panic on it.
pub(crate) fn readable(column: impl ColumnTrait, backend: DbBackend) -> SimpleExpr {
    let time = || Expr::col(column.as_column_ref());
    let condition = match backend {
        DbBackend::Sqlite => {
            let day = |text: &str| Expr::cust(format!("julianday('{text}')"));
            by_time(column, backend).between(day("0001-01-01"), day("9999-12-31 23:59:59.999"))
        }
        _ => {
            let limit = |text: &str| Expr::cust(format!("CAST('{text} 00:00:00+00:00' AS timestamptz)"));
            time().gte(limit("0001-01-01")).and(time().lt(limit("10000-01-01")))
        }
    };
    sea_orm::sea_query::CaseStatement::new().case(condition, time()).into()
}

/// The sort key of a time column. On SQLite older versions of this program stored RFC 3339, which
/// does not sort with the present format.
pub(crate) fn by_time(column: impl ColumnTrait, backend: DbBackend) -> SimpleExpr {
    let time = Expr::col(column.as_column_ref());
    match backend {
        DbBackend::Sqlite => sea_orm::sea_query::Func::cust("julianday").arg(time).into(),
        _ => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_utc_and_in_four_digits_of_years() {
        for (text, stored) in [
            ("2026-01-31T12:00:00Z", "2026-01-31 12:00:00"),
            ("2026-01-31T12:00:00.5+01:30", "2026-01-31 10:30:00.5"),
            ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00"),
            ("2026-01-31 12:00:00+00", "2026-01-31 12:00:00"),
            ("2026-01-31 12:00:00.123456-03", "2026-01-31 15:00:00.123456"),
            ("2026-01-31 12:00:00+05:30", "2026-01-31 06:30:00"),
            ("1840-01-31 12:00:00-00:01:15", "1840-01-31 12:01:15"),
            ("2026-01-31 12:00:00+00:00", "2026-01-31 12:00:00"),
            ("2026-01-31 12:00:00Z", "2026-01-31 12:00:00"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31 23:59:59.999999"),
        ] {
            let moment = parse("created_at", text).expect(text);
            assert_eq!(value(moment, DbBackend::Sqlite), Value::from(stored), "{text}");
        }
        for text in [
            "9999-12-31T23:59:59-01:00",
            "0001-01-01T00:00:00+00:01",
            "0000-06-01T00:00:00Z",
            "infinity",
            "2026-01-31 12:00:00",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00+00",
            "2026-01-31",
            "2026-01-31 12:00:00+00 BC",
            "10000-01-31 12:00:00+00",
            "31.01.2026 12:00:00",
        ] {
            let reason = parse("created_at", text).expect_err(text);
            assert!(reason.starts_with(&format!("the created_at `{text}` is not ")), "{reason}");
        }
    }
}
