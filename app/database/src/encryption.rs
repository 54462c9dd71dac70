//! What protects the sessions of an address on their way.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use crate::address::Target;
use crate::tls::Tls;
use crate::{Address, ConnectError, Options};

/// What protects a session between the program and the server, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// Everybody on the way can read and change what is sent, the password included.
    Off,
    /// What is sent is encrypted, for whoever answers: somebody in between may be the one (`prefer`, `require`).
    ForWhoeverAnswers,
    /// The server's certificate is from an authority that is trusted, for whatever host (`verify-ca`).
    ForTheAuthority,
    /// The certificate is from such an authority, for that host (`verify-full`).
    ForTheHost,
}

/// What protects the sessions of an address; `None` where nothing travels, as with SQLite and Unix sockets.
///
/// Where the URL leaves it to the server (`sslmode=prefer`, the default) one more session asks it.
///
/// # Errors
///
/// A [`ConnectError`], where that session is refused for another reason.
pub async fn encryption(address: &Address) -> Result<Option<Encryption>, ConnectError> {
    let Target::Wire { options, tls } = &*address.target else { return Ok(None) };
    if address.is_socket() {
        return Ok(None);
    }
    Ok(Some(match tls.mode {
        // The driver's `allow` never asks for it.
        PgSslMode::Disable | PgSslMode::Allow => Encryption::Off,
        PgSslMode::Prefer if !takes_tls(options, tls, address).await? => Encryption::Off,
        PgSslMode::Prefer | PgSslMode::Require => Encryption::ForWhoeverAnswers,
        PgSslMode::VerifyCa => Encryption::ForTheAuthority,
        PgSslMode::VerifyFull => Encryption::ForTheHost,
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
