//! Where a database is. The URL is parsed before anything else sees it: SeaORM's and sqlx's own URL errors print the password.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use crate::ConnectError;
use crate::parse::{self, Parsed};
use crate::tls::{self, Tls};

/// The database used when nothing is configured: a file in the working directory, made when it is absent.
pub const EMBEDDED_URL: &str = "sqlite://bank.db?mode=rwc";

/// Where a database is. Its [`Display`](fmt::Display) and [`Debug`] never show a password.
#[derive(Clone)]
pub struct Address {
    pub(crate) target: Arc<Target>,
    shown: String,
    notes: Vec<String>,
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
        let Parsed { target, shown, notes } = parse::address(url)?;
        Ok(Self { target: Arc::new(target), shown, notes })
    }

    /// What the user should know about the URL: parameters that are not used, a password file that is not read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same, whose sessions have this name in the server's lists, unless the URL or PGAPPNAME gives another.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Self {
        match &*self.target {
            Target::Wire { options, tls } if options.get_application_name().is_none() => {
                let options = options.clone().application_name(name);
                Self { target: Arc::new(Target::Wire { options, tls: tls.clone() }), ..self.clone() }
            }
            _ => self.clone(),
        }
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
        Self {
            target: Arc::new(target),
            shown: self.changed(|url| url.set_path(database)),
            notes: Vec::new(),
        }
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
        Self { target: Arc::new(target), ..self.clone() }
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
                let host = options.get_host();
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

#[cfg(test)]
mod tests {
    use super::*;

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
