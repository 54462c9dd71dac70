//! Parses database URLs, because the URL errors of SeaORM and sqlx print the password.

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

/// The default database: a file in the working directory, created if missing.
pub const EMBEDDED_URL: &str = "sqlite://bank.db?mode=rwc";

/// A database URL. Its [`Display`](fmt::Display) and [`Debug`] never show a password.
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
    /// Parses a URL with the scheme `sqlite`, `cockroachdb`, `postgres` or `postgresql`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::BadUrl`], without the password.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let Parsed { target, shown, notes } = parse::address(url)?;
        Ok(Self { target: Arc::new(target), shown, notes })
    }

    /// Warnings for the user: ignored parameters, an ignored password file.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same, with an `application_name`, unless the URL or PGAPPNAME gives one.
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

    /// Another user's URL on the same server, without a password.
    #[must_use]
    pub fn shown_for(&self, user: &str, database: &str) -> String {
        self.changed(|url| {
            // Cannot fail: a server's URL has a host.
            let _ = url.set_password(None);
            let _ = url.set_username(user);
            url.set_path(database);
            let others: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(key, _)| {
                    !matches!(&**key, "user" | "password" | "dbname") && !tls::is_client_certificate(key)
                })
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect();
            url.set_query(None);
            if !others.is_empty() {
                url.query_pairs_mut().extend_pairs(others);
            }
        })
    }

    /// Another SQLite file with the same options.
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

    /// The URL's scheme.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.shown.split(':').next().unwrap_or_default()
    }

    /// Whether the host is this machine, by its address.
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

    pub(crate) fn is_socket(&self) -> bool {
        match &*self.target {
            Target::Sqlite { .. } => false,
            Target::Wire { options, .. } => {
                options.get_socket().is_some() || options.get_host().starts_with('/')
            }
        }
    }

    /// The database's name, or the SQLite file's path.
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
