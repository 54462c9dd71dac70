//! Parses a database URL. No error repeats a part that may be a password.

mod password;

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::{Host, Url};

use crate::ConnectError;
use crate::address::Target;
use crate::parameter::{self, Parameter};
use crate::tls::{self, Tls};

const SCHEMES: &str = "sqlite://, cockroachdb://, postgres:// or postgresql://";

const ENCODE: &str = "write / ? # @ % in a user or a password percent-encoded, as in %2F for /";

/// A parsed URL.
pub(crate) struct Parsed {
    pub(crate) target: Target,
    pub(crate) shown: String,
    pub(crate) notes: Vec<String>,
}

fn bad<T>(reason: impl Into<String>) -> Result<T, ConnectError> {
    Err(ConnectError::bad_url(reason))
}

pub(crate) fn address(url: &str) -> Result<Parsed, ConnectError> {
    let url = url.trim();
    if url.is_empty() {
        return bad(format!(
            "it is empty: unset DATABASE_URL for the file bank.db, or give one that starts with {SCHEMES}"
        ));
    }
    if url.starts_with(['"', '\'', '`']) {
        return bad("it is in quotes, which `docker run --env-file` keeps: remove the quotes");
    }
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => sqlite(url),
        Some("cockroachdb" | "postgres" | "postgresql") => wire(url),
        Some(scheme) if is_scheme(scheme) => bad(format!("its scheme `{scheme}` is unknown: use {SCHEMES}")),
        _ => bad(format!("it does not start with {SCHEMES}")),
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn sqlite(url: &str) -> Result<Parsed, ConnectError> {
    let file = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let (path, query) = file.split_once('?').unwrap_or((file, ""));
    if path.is_empty() || path == ":memory:" || query.contains("mode=memory") {
        return bad(
            "an in-memory database is lost with its first connection: name a file, as in sqlite://bank.db?mode=rwc",
        );
    }
    for (key, _) in url::form_urlencoded::parse(query.as_bytes()) {
        parameter::check_sqlite(&key)?;
    }
    let options =
        SqliteConnectOptions::from_str(url).map_err(|error| ConnectError::bad_url(reason(&error)))?;
    let read_only =
        query.split('&').any(|pair| pair == "mode=ro" || pair == "immutable=true" || pair == "immutable=1");
    Ok(Parsed { target: Target::Sqlite { options, read_only }, shown: url.to_owned(), notes: Vec::new() })
}

fn wire(text: &str) -> Result<Parsed, ConnectError> {
    check_text(text)?;
    let mut url = Url::parse(text)
        .map_err(|error| ConnectError::bad_url(format!("it cannot be parsed ({error}); {ENCODE}")))?;
    // Then the user and the password may be in any part.
    let has_strayed = !authority(text).contains('@') && text.contains('@');
    if url.path().trim_matches('/').is_empty() {
        return bad(if has_strayed {
            format!("it cannot be parsed: {ENCODE}")
        } else {
            "it names no database: end it in /bank".to_owned()
        });
    }
    let mut notes = check_parameters(&url, has_strayed)?;
    notes.extend(password::unread_file(&url));
    let mut shown = url.clone();
    password::hide(&mut shown);
    tls::take_system_roots(&mut url)?;
    let options = driver_options(url.clone())?;
    let tls = Tls::of(&url, options.get_ssl_mode());
    Ok(Parsed { target: Target::Wire { options, tls }, shown: shown.into(), notes })
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Refuses text that the parser would misread: a password's rest as a path, two hosts as one.
fn check_text(text: &str) -> Result<(), ConnectError> {
    let Some((_, rest)) = text.split_once("://") else {
        return bad("its scheme needs two slashes, as in postgres://user@host:5432/bank");
    };
    let authority = authority(text);
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (path, query) = rest[authority.len()..].split_once('?').unwrap_or((&rest[authority.len()..], ""));
    let has_bare_percent = user
        .split('%')
        .skip(1)
        .any(|rest| !rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    let key_has_at = query.split('&').any(|pair| pair.split('=').next().is_some_and(|key| key.contains('@')));
    if text.contains('#') || path.contains('@') || key_has_at || has_bare_percent {
        return bad(format!("it cannot be parsed: {ENCODE}"));
    }
    if rest[authority.len()..].contains(';') {
        return bad(
            "its parameters follow ? and are separated by &, as in ?sslmode=disable&user=bank; write ; as %3B",
        );
    }
    if hosts.contains(',') {
        return bad(SEVERAL_HOSTS);
    }
    Ok(())
}

const SEVERAL_HOSTS: &str = "it names several hosts: name one, or a load balancer in front of them";

/// Refuses unknown parameters; returns warnings for ignored ones. `may_be_password`: a parameter
/// may be part of a password.
fn check_parameters(url: &Url, may_be_password: bool) -> Result<Vec<String>, ConnectError> {
    let mut unused = Vec::new();
    for (key, value) in url.query_pairs() {
        match parameter::of(&key, &value) {
            Parameter::Used if matches!(&*key, "host" | "hostaddr" | "port") && value.contains(',') => {
                return bad(SEVERAL_HOSTS);
            }
            Parameter::Used => parameter::check_value(&key, &value)?,
            Parameter::Unused => unused.push(key.into_owned()),
            Parameter::Refused(_) if may_be_password => return bad(format!("it cannot be parsed: {ENCODE}")),
            Parameter::Refused(why) => return bad(why),
        }
    }
    let list = unused.join(", ");
    Ok(match unused.len() {
        0 => Vec::new(),
        1 => vec![format!("the database URL's parameter {list} is not used")],
        _ => vec![format!("the database URL's parameters {list} are not used")],
    })
}

/// The URL for the driver, which does not know the scheme `cockroachdb` or brackets around an IPv6
/// address, and logs a warning for each parameter that it ignores.
fn driver_options(mut url: Url) -> Result<PgConnectOptions, ConnectError> {
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, value)| matches!(parameter::of(key, value), Parameter::Used))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    if let Some(Host::Ipv6(address)) = url.host()
        && !pairs.iter().any(|(key, _)| key == "host" || key == "hostaddr")
    {
        pairs.push(("hostaddr".to_owned(), address.to_string()));
    }
    for (key, value) in &mut pairs {
        if key == "host" && value.starts_with('[') {
            *value = value.trim_matches(['[', ']']).to_owned();
        }
    }
    url.set_query(None);
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    let url = String::from(url);
    url.strip_prefix("cockroachdb")
        .map_or_else(|| url.clone(), |rest| format!("postgresql{rest}"))
        .parse::<PgConnectOptions>()
        .map_err(|error| ConnectError::bad_url(reason(&error)))
}

/// A configuration error's text, which names the parameter but not the URL.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(inner) => inner.to_string(),
        _ => "it cannot be parsed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::Address;

    fn refusal(url: &str) -> String {
        Address::parse(url).expect_err(url).to_string()
    }

    #[test]
    fn nothing_is_shown_that_is_not_known_to_be_harmless() {
        for url in [
            "postgres://maxroach:s3cret@localhost:5432/bank",
            "cockroachdb://maxroach:s3cret@localhost:26257/bank?sslmode=require",
            "postgresql://maxroach@localhost/bank?password=s3cret&sslmode=disable",
            "postgresql://maxroach@localhost/bank?options=-c%20app.token%3Ds3cret",
            "postgresql://maxroach@localhost/bank?options[app.token]=s3cret",
            "postgresql://maxroach@localhost/bank?sslkey=-----BEGIN%20PRIVATE%20KEY-----s3cret",
        ] {
            let address = Address::parse(url).expect("a good URL");
            let shown = format!("{address} {address:?} {:?}", address.notes());
            assert!(!shown.contains("s3cret") && shown.contains("***"), "{shown}");
        }
        let harmless = "postgres://a@localhost/bank?sslmode=disable&options=-c+search_path%3Dapp1";
        assert_eq!(Address::parse(harmless).expect("a good URL").to_string(), harmless);
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in [
            "",
            "bank.db",
            "mysql://root:s3cret@localhost/bank",
            "postgres://maxroach:s3cret@local host/bank",
            "postgres://maxroach:s3cret@localhost:notaport/bank",
            "postgres://maxroach:s3cret@localhost/",
            "postgres://maxroach:s3cret@localhost/bank?sslmode=s3cre",
            "postgres://maxroach@localhost/bank?sslpassword=s3cret",
            "postgres://maxroach@localhost/bank?sslmode=disable;password=s3cret",
            "postgres://maxroach@localhost/bank;password=s3cret",
            "postgres://maxroach@localhost/bank?sslmode=s3cret",
            "postgres://maxroach@localhost/bank?port=s3cret",
            "postgres://maxroach@localhost/bank?PASSWORD=s3cret",
            "cockroachdb//maxroach:s3cret@localhost/bank",
            "cockroachdb:maxroach:s3cret@localhost/bank",
            "sqlite::memory:",
            "sqlite://bank.db?mode=s3cre",
            "sqlite://bank.db?key=s3cret",
        ] {
            let error = refusal(url);
            assert!(!error.contains("s3cret"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn characters_of_a_password_that_are_not_encoded_are_told_and_not_shown() {
        for password in [
            "s3/cret",
            "12/s3cret",
            "s3?cret",
            "12?s3cret",
            "12?s3=cret",
            "s3#cret",
            "12#s3cret",
            "s3%cret",
            "s3@/cret",
        ] {
            let error = refusal(&format!("postgres://bank:{password}@localhost:5432/bank"));
            assert!(error.contains("percent-encoded"), "{password}: {error}");
            assert!(!error.contains("s3") && !error.contains("cret"), "{password}: {error}");
        }
        Address::parse("postgres://bank:p@ss@localhost/bank").expect("the last @ ends the password");
    }

    #[test]
    fn what_stands_for_no_url_is_named() {
        for (url, words) in [
            ("", "it is empty"),
            ("  \n", "it is empty"),
            ("\"postgres://bank@localhost/bank\"", "quotes"),
            ("'sqlite://bank.db'", "quotes"),
            ("postgres://bank@a:1,b:2/bank", "several hosts"),
            ("postgres://bank@a,b/bank", "several hosts"),
            ("postgres://bank@localhost/bank?host=a,b", "several hosts"),
            ("postgres:/bank@localhost/bank", "two slashes"),
        ] {
            assert!(refusal(url).contains(words), "{url}: {}", refusal(url));
        }
        Address::parse(" postgres://bank@localhost/bank\n").expect("blanks around it are no part of it");
    }

    #[test]
    fn an_address_of_ipv6_is_known_without_its_brackets() {
        for url in ["postgres://bank@[::1]:5432/bank", "cockroachdb://[::1]/bank?sslmode=disable"] {
            let address = Address::parse(url).expect(url);
            let crate::address::Target::Wire { options, .. } = &*address.target else { panic!("{url}") };
            assert_eq!(options.get_host(), "::1");
            assert!(address.to_string().contains("[::1]"), "{address}");
        }
    }

    #[test]
    fn parameters_that_are_not_used_are_told() {
        let url = "postgres://bank@localhost/bank?connect_timeout=10&keepalives=1&sslmode=disable";
        let notes = Address::parse(url).expect("a good URL").notes().join("\n");
        assert!(notes.contains("connect_timeout, keepalives are not used"), "{notes}");
    }
}
