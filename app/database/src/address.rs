//! A database URL, parsed before anything else sees it: SeaORM's and sqlx's own URL errors print the password.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use crate::ConnectError;
use crate::tls::{self, Tls};

/// The database used when nothing is configured: a file in the working directory, made when it is absent.
pub const EMBEDDED_URL: &str = "sqlite://bank.db?mode=rwc";

const SCHEMES: &str = "sqlite://, cockroachdb://, postgres:// or postgresql://";

/// Where a database is. Its [`Display`](fmt::Display) and [`Debug`] never show a password.
#[derive(Clone)]
pub struct Address {
    pub(crate) target: Arc<Target>,
    shown: String,
}

#[derive(Clone)]
pub(crate) enum Target {
    Sqlite { options: SqliteConnectOptions, read_only: bool },
    Wire { options: PgConnectOptions, tls: Tls },
}

impl Address {
    /// Reads a URL with one of the schemes `sqlite`, `cockroachdb`, `postgres` and `postgresql`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BadUrl`] says what is wrong with the URL, without its password.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::sqlite(url),
            Some("cockroachdb" | "postgres" | "postgresql") => Self::wire(url),
            Some(scheme) if is_scheme(scheme) => {
                Err(ConnectError::bad_url(format!("its scheme `{scheme}` is unknown: use {SCHEMES}")))
            }
            _ => Err(ConnectError::bad_url(format!("it does not start with {SCHEMES}"))),
        }
    }

    fn sqlite(url: &str) -> Result<Self, ConnectError> {
        let file = url.trim_start_matches("sqlite:").trim_start_matches("//");
        let (path, query) = file.split_once('?').unwrap_or((file, ""));
        if path.is_empty() || path == ":memory:" || query.contains("mode=memory") {
            return Err(ConnectError::bad_url(
                "a database in memory is lost with its first connection: name a file, as in sqlite://bank.db?mode=rwc",
            ));
        }
        let options =
            SqliteConnectOptions::from_str(url).map_err(|e| ConnectError::bad_url(e.to_string()))?;
        let read_only = query
            .split('&')
            .any(|pair| pair == "mode=ro" || pair == "immutable=true" || pair == "immutable=1");
        Ok(Self { target: Arc::new(Target::Sqlite { options, read_only }), shown: url.to_owned() })
    }

    fn wire(url: &str) -> Result<Self, ConnectError> {
        let mut shown =
            Url::parse(url).map_err(|e| ConnectError::bad_url(format!("it cannot be parsed ({e})")))?;
        if shown.path().trim_matches('/').is_empty() {
            return Err(ConnectError::bad_url("it names no database: end it in /bank"));
        }
        // sqlx knows neither the scheme nor a name for its server: CockroachDB speaks PostgreSQL's protocol.
        let options = url
            .strip_prefix("cockroachdb")
            .map_or_else(|| url.to_owned(), |rest| format!("postgresql{rest}"))
            .parse::<PgConnectOptions>()
            .map_err(|e| ConnectError::bad_url(reason(&e)))?;
        let tls = Tls::of(&shown, options.get_ssl_mode());
        hide_password(&mut shown);
        Ok(Self { target: Arc::new(Target::Wire { options, tls }), shown: shown.into() })
    }

    /// The same server and user, in another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let target = match &*self.target {
            Target::Sqlite { .. } => return self.clone(),
            Target::Wire { options, tls } => {
                Target::Wire { options: options.clone().database(database), tls: tls.clone() }
            }
        };
        Self { target: Arc::new(target), shown: self.changed(|url| url.set_path(database)) }
    }

    /// What another user's URL on the same server is, without a password.
    #[must_use]
    pub fn shown_for(&self, user: &str, database: &str) -> String {
        self.changed(|url| {
            // A URL of a server has a host, so neither call can fail.
            let _ = url.set_password(None);
            let _ = url.set_username(user);
            url.set_path(database);
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(key, _)| {
                    !matches!(&**key, "user" | "password" | "dbname") && !tls::is_of_client(key)
                })
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect();
            url.set_query(None);
            if !others.is_empty() {
                url.query_pairs_mut().extend_pairs(others);
            }
        })
    }

    /// The SQLite file of this path, opened as this one is.
    #[must_use]
    pub fn with_file(&self, path: &Path) -> Self {
        let target = match &*self.target {
            Target::Wire { .. } => return self.clone(),
            Target::Sqlite { options, read_only } => {
                Target::Sqlite { options: options.clone().filename(path), read_only: *read_only }
            }
        };
        Self { target: Arc::new(target), shown: self.shown.clone() }
    }

    fn changed(&self, change: impl FnOnce(&mut Url)) -> String {
        let Ok(mut url) = Url::parse(&self.shown) else { return self.shown.clone() };
        change(&mut url);
        url.into()
    }

    /// The scheme of the URL: `sqlite`, `cockroachdb`, `postgres` or `postgresql`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.shown.split(':').next().unwrap_or_default()
    }

    /// Whether the database is on this machine, as far as its address says.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        match &*self.target {
            Target::Sqlite { .. } => true,
            Target::Wire { options, .. } => {
                let host = options.get_host().trim_matches(['[', ']']);
                self.is_socket()
                    || host == "localhost"
                    || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// Whether the database is an SQLite file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(*self.target, Target::Sqlite { .. })
    }

    /// Whether it is a Unix socket.
    pub(crate) fn is_socket(&self) -> bool {
        match &*self.target {
            Target::Sqlite { .. } => false,
            Target::Wire { options, .. } => {
                options.get_socket().is_some() || options.get_host().starts_with('/')
            }
        }
    }

    /// The name of the database, or the path of the SQLite file.
    #[must_use]
    pub fn database(&self) -> String {
        match &*self.target {
            Target::Sqlite { options, .. } => options.get_filename().display().to_string(),
            Target::Wire { options, .. } => options.get_database().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A configuration error's own words: they name the parameter, never the URL.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(inner) => inner.to_string(),
        _ => "it cannot be parsed".to_owned(),
    }
}

/// Takes the password out of the authority and out of the query, where the driver reads it too.
fn hide_password(url: &mut Url) {
    if url.password().is_some() {
        // A URL with a password has a host, so neither call can fail.
        let _ = url.set_password(Some("***"));
    }
    if url.query_pairs().any(|(key, _)| key == "password") {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                (key.to_string(), if key == "password" { "***".to_owned() } else { value.into_owned() })
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://maxroach:s3cret@localhost:5432/bank",
            "cockroachdb://maxroach:s3cret@localhost:26257/bank?sslmode=require",
            "postgresql://maxroach@localhost/bank?password=s3cret&sslmode=disable",
        ] {
            let address = Address::parse(url).expect("a good URL");
            assert!(!format!("{address} {address:?}").contains("s3cret"), "{address}");
        }
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
            "cockroachdb//maxroach:s3cret@localhost/bank",
            "sqlite::memory:",
            "sqlite://bank.db?mode=s3cre",
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(!error.contains("s3cret"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn another_users_url_has_nothing_of_the_first_ones() {
        let admin = "postgres://root:s3cret@localhost:5432/postgres?sslmode=verify-full&password=s3cret&sslkey=root.key";
        let admin = Address::parse(admin).expect("a good URL");
        assert_eq!(admin.with_database("bank").database(), "bank");
        let shown = admin.shown_for("teller", "bank");
        assert_eq!(shown, "postgres://teller@localhost:5432/bank?sslmode=verify-full");
    }

    #[test]
    fn what_is_on_this_machine_is_known() {
        let is_here = |url: &str| Address::parse(url).expect("a good URL").is_this_machine();
        for here in [
            EMBEDDED_URL,
            "postgres://localhost/bank",
            "postgres://127.0.0.2:5433/bank",
            "postgres://[::1]/bank",
            "postgres://%2Fvar%2Frun%2Fpostgresql/bank",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["cockroachdb://root@db.example/bank", "postgres://10.0.0.1/bank"] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_database_is_the_last_part() {
        let named = |url: &str| Address::parse(url).expect("a good URL").database();
        assert_eq!(named("cockroachdb://root@localhost:26257/bank?sslmode=disable"), "bank");
        assert_eq!(named(EMBEDDED_URL), "bank.db");
    }
}
