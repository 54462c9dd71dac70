//! URL parameters: those that are used, those of libpq that are ignored, and advice for the rest.

use std::net::IpAddr;

use sqlx::postgres::PgSslMode;

use crate::ConnectError;

pub(crate) enum Parameter {
    /// The driver uses it.
    Used,
    /// A libpq parameter that can be ignored: the session is as requested without it.
    Unused,
    /// A parameter that cannot be honoured, with advice.
    Refused(String),
}

const USED: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "statement-cache-capacity",
    "user",
];

/// Ignored libpq parameters, with the values that can be ignored; an empty list for all values.
const UNUSED: [(&str, &[&str]); 22] = [
    ("channel_binding", &["disable", "prefer"]),
    ("client_encoding", &["auto", "utf8", "utf-8", "unicode"]),
    ("connect_timeout", &[]),
    ("fallback_application_name", &[]),
    ("gssdelegation", &["0"]),
    ("gssencmode", &["disable", "prefer"]),
    ("gsslib", &[]),
    ("keepalives", &[]),
    ("keepalives_count", &[]),
    ("keepalives_idle", &[]),
    ("keepalives_interval", &[]),
    ("krbsrvname", &[]),
    ("load_balance_hosts", &["disable", "random"]),
    ("max_protocol_version", &[]),
    ("min_protocol_version", &["3.0"]),
    ("ssl_max_protocol_version", &["tlsv1.3"]),
    ("ssl_min_protocol_version", &["tlsv1", "tlsv1.1", "tlsv1.2"]),
    ("sslcompression", &[]),
    ("sslnegotiation", &["postgres"]),
    ("sslsni", &["1"]),
    ("target_session_attrs", &["any"]),
    ("tcp_user_timeout", &[]),
];

/// Advice for parameters that other drivers have, or that cannot be honoured.
const ADVICE: [(&str, &str); 30] = [
    ("channel_binding", "the driver has no channel binding: leave it out and give sslmode=verify-full"),
    ("connection_limit", "give --pool N to the command"),
    ("currentschema", SEARCH_PATH),
    ("database", "write dbname, or end the URL in /bank"),
    ("encrypt", "write sslmode=verify-full"),
    ("gssencmode", NO_GSS),
    ("hostname", "write host"),
    ("max_connections", "give --pool N to the command"),
    ("max_conns", "give --pool N to the command"),
    ("passfile", "set the variable PGPASSFILE"),
    ("pgbouncer", "leave it out: the bank needs a pooler in session mode, or none"),
    ("pool_max_conns", "give --pool N to the command"),
    ("pool_size", "give --pool N to the command"),
    ("pool_timeout", "give --retry-for TIME to the command"),
    ("prepare_threshold", "leave it out, or write statement-cache-capacity"),
    ("replication", "leave it out: the bank needs an ordinary session"),
    ("require_auth", "the driver does not support it: leave it out and give sslmode=verify-full"),
    ("requirepeer", "the driver does not support it: leave it out"),
    ("schema", SEARCH_PATH),
    ("search_path", SEARCH_PATH),
    ("service", "write the service file's settings in the URL"),
    ("servicefile", "write the service file's settings in the URL"),
    ("sslcrl", "the driver has no certificate revocation lists: leave it out"),
    ("sslcrldir", "the driver has no certificate revocation lists: leave it out"),
    ("sslpassword", "the driver cannot decrypt a key: give an sslkey=FILE without a passphrase"),
    ("ssl", "write sslmode=verify-full, or sslmode=disable"),
    ("statement_timeout", "write options=-c%20statement_timeout=MILLISECONDS"),
    (
        "target_session_attrs",
        "the driver connects to one server only: leave it out and name the one that takes writes",
    ),
    ("tls", "write sslmode=verify-full, or sslmode=disable"),
    ("username", "write user"),
];

const SEARCH_PATH: &str = "write options=-c%20search_path=NAME";
const NO_GSS: &str = "the driver has no GSSAPI: leave it out and give sslmode=verify-full";

pub(crate) fn of(key: &str, value: &str) -> Parameter {
    if USED.contains(&key) || is_option(key) {
        return Parameter::Used;
    }
    let unused = UNUSED.iter().find(|(name, _)| *name == key);
    let lower = value.to_lowercase();
    if unused.is_some_and(|(_, values)| values.is_empty() || values.contains(&lower.as_str())) {
        return Parameter::Unused;
    }
    let names =
        USED.iter().chain(UNUSED.iter().map(|(name, _)| name)).chain(ADVICE.iter().map(|(name, _)| name));
    Parameter::Refused(refusal(key, names.copied()))
}

/// Refuses a value for which the driver's error would omit the parameter or repeat the value.
pub(crate) fn check_value(key: &str, value: &str) -> Result<(), ConnectError> {
    let (is_good, what) = match key {
        "sslmode" | "ssl-mode" => (
            value.parse::<PgSslMode>().is_ok(),
            "must be one of disable, allow, prefer, require, verify-ca and verify-full",
        ),
        "port" => (value.parse::<u16>().is_ok(), "is not a port: write a number from 1 to 65535"),
        "hostaddr" => (value.parse::<IpAddr>().is_ok(), "is not an IP address: for a name write host"),
        "statement-cache-capacity" => (value.parse::<usize>().is_ok(), "is not a number"),
        _ => return Ok(()),
    };
    if is_good { Ok(()) } else { Err(ConnectError::bad_url(format!("its parameter `{key}` {what}"))) }
}

pub(crate) fn check_sqlite(key: &str) -> Result<(), ConnectError> {
    const SQLITE: [&str; 4] = ["cache", "immutable", "mode", "vfs"];
    if SQLITE.contains(&key) {
        return Ok(());
    }
    Err(ConnectError::bad_url(refusal(key, SQLITE.into_iter())))
}

/// The refusal, with the advice for the most similar name.
fn refusal<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> String {
    let bare = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let asked = bare(key);
    let distance = |name: &&str| strsim::damerau_levenshtein(&bare(name), &asked);
    // Among equals the first wins.
    let near = names.min_by_key(distance).filter(|name| distance(name) <= name.len() / 4);
    let advice = near.map(|name| match ADVICE.iter().find(|(it, _)| *it == name) {
        Some((_, advice)) => (*advice).to_owned(),
        None if name == key => "leave it out".to_owned(),
        None => format!("write {name}"),
    });
    let what = if near == Some(key) && UNUSED.iter().any(|(name, _)| *name == key) {
        "cannot be used as it is given"
    } else {
        "is unknown"
    };
    let advice = advice.unwrap_or_else(|| "leave it out".to_owned());
    format!("its parameter `{}` {what}: {advice}", shortened(key))
}

/// The key, shortened and stripped: it may be part of a password.
fn shortened(key: &str) -> String {
    key.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.[]".contains(*c)).take(40).collect()
}

fn is_option(key: &str) -> bool {
    key.starts_with("options[") && key.ends_with(']')
}

const HARMLESS_OPTIONS: [&str; 8] = [
    "cluster",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "timezone",
];

/// Whether the value of a parameter may be shown.
pub(crate) fn is_harmless(key: &str, value: &str) -> bool {
    match key {
        "password" => false,
        // The value may be the key itself, not a file.
        "sslkey" | "ssl-key" | "sslcert" | "ssl-cert" | "sslrootcert" | "ssl-root-cert" | "ssl-ca" => {
            !value.contains("-----BEGIN")
        }
        "options" => value.split_whitespace().filter(|word| *word != "-c").all(|word| {
            let setting = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).unwrap_or(word);
            setting.split_once('=').is_some_and(|(name, _)| is_harmless_option(name))
        }),
        key if is_option(key) => is_harmless_option(&key["options[".len()..key.len() - 1]),
        key => USED.contains(&key) || UNUSED.iter().any(|(name, _)| *name == key),
    }
}

fn is_harmless_option(name: &str) -> bool {
    HARMLESS_OPTIONS.contains(&name.to_lowercase().replace('-', "_").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_parameter_and_what_was_meant() {
        for (key, value, meant) in [
            ("SSLMODE", "verify-full", "write sslmode"),
            ("ssl_mode", "require", "write sslmode"),
            ("sslmod", "require", "write sslmode"),
            ("slmode", "require", "write sslmode"),
            ("Host", "db", "write host"),
            ("search_path", "app1", "options=-c%20search_path"),
            ("searchPath", "app1", "options=-c%20search_path"),
            ("currentSchema", "app1", "options=-c%20search_path"),
            ("target_session_attrs", "read-write", "leave it out"),
            ("channel_binding", "require", "sslmode=verify-full"),
            ("sslpassword", "x", "without a passphrase"),
            ("pool_size", "3", "--pool"),
            ("conect_timeout", "3", "write connect_timeout"),
            ("application-name", "x", "write application_name"),
            ("sslnegotiation", "direct", "cannot be used as it is given: leave it out"),
            ("zzz", "3", "leave it out"),
        ] {
            let Parameter::Refused(why) = of(key, value) else { panic!("{key}") };
            assert!(why.contains(&format!("`{key}`")) && why.contains(meant), "{key}: {why}");
        }
    }

    #[test]
    fn libpqs_harmless_parameters_are_not_refused() {
        for (key, value) in
            [("connect_timeout", "10"), ("target_session_attrs", "any"), ("client_encoding", "UTF8")]
        {
            assert!(matches!(of(key, value), Parameter::Unused), "{key}");
        }
        for key in ["sslmode", "options", "options[search_path]", "user"] {
            assert!(matches!(of(key, "x"), Parameter::Used), "{key}");
        }
    }
}
