//! How the sessions of an address are encrypted.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use crate::address::Target;
use crate::tls::Tls;
use crate::{Address, ConnectError, Options};

/// A session's protection on the network, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// None: the network can read and change everything, the password included.
    Off,
    /// Encrypted, but the server is not verified (`prefer`, `require`).
    Unverified,
    /// A trusted authority signed the server's certificate, for any host (`verify-ca`).
    AuthorityVerified,
    /// A trusted authority signed the certificate for this host (`verify-full`).
    HostVerified,
}

/// The encryption of an address's sessions; `None` for SQLite and Unix sockets.
///
/// With `sslmode=prefer`, the default, this opens one session to ask the server.
///
/// # Errors
///
/// A [`ConnectError`] if that session fails.
pub async fn encryption(address: &Address) -> Result<Option<Encryption>, ConnectError> {
    let Target::Wire { options, tls } = &*address.target else { return Ok(None) };
    if address.is_socket() {
        return Ok(None);
    }
    Ok(Some(match tls.mode {
        // The driver's `allow` never requests TLS.
        PgSslMode::Disable | PgSslMode::Allow => Encryption::Off,
        PgSslMode::Prefer if !takes_tls(options, tls, address).await? => Encryption::Off,
        PgSslMode::Prefer | PgSslMode::Require => Encryption::Unverified,
        PgSslMode::VerifyCa => Encryption::AuthorityVerified,
        PgSslMode::VerifyFull => Encryption::HostVerified,
    }))
}

async fn takes_tls(options: &PgConnectOptions, tls: &Tls, address: &Address) -> Result<bool, ConnectError> {
    let options = options.clone().ssl_mode(PgSslMode::Require).extra_float_digits(None);
    let after = Options::default().connect_timeout;
    let asking = async {
        let session = PgConnection::connect_with(&options).await?;
        session.close().await
    };
    match tokio::time::timeout(after, asking).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(sqlx::Error::Tls(_))) => Ok(false),
        Ok(Err(error)) => Err(ConnectError::of(address, tls, &error)),
        Err(_) => Err(ConnectError::TimedOut { address: address.clone(), after }),
    }
}
