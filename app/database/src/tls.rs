//! What protects the sessions of an address on their way.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use crate::address::Target;
use crate::{Address, ConnectError};

/// What protects a session between the program and the server, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tls {
    /// Everybody on the way can read and change what is sent, the password included.
    Off,
    /// What is sent is encrypted, for whoever answers: somebody in between may be the one (`prefer`, `require`).
    Encrypted,
    /// The server's certificate is from the authority that was given, for whatever host (`verify-ca`).
    Authority,
    /// The certificate is from that authority, for that host (`verify-full`).
    Host,
}

/// What protects the sessions of an address; `None` where nothing travels, as with SQLite and Unix sockets.
///
/// Where the URL leaves it to the server (`sslmode=prefer`, the default, and `allow`) one more session asks the server.
///
/// # Errors
///
/// A [`ConnectError`], where that session is refused for another reason.
pub async fn tls(address: &Address) -> Result<Option<Tls>, ConnectError> {
    let Target::Wire(options) = &*address.target else { return Ok(None) };
    if address.is_socket() {
        return Ok(None);
    }
    Ok(Some(match options.get_ssl_mode() {
        PgSslMode::Disable => Tls::Off,
        PgSslMode::Prefer if takes(options, PgSslMode::Require, address).await? => Tls::Encrypted,
        PgSslMode::Prefer => Tls::Off,
        PgSslMode::Allow if takes(options, PgSslMode::Disable, address).await? => Tls::Off,
        PgSslMode::Allow | PgSslMode::Require => Tls::Encrypted,
        PgSslMode::VerifyCa => Tls::Authority,
        PgSslMode::VerifyFull => Tls::Host,
    }))
}

/// Whether the server takes a session of this mode.
async fn takes(options: &PgConnectOptions, mode: PgSslMode, address: &Address) -> Result<bool, ConnectError> {
    match PgConnection::connect_with(&options.clone().ssl_mode(mode)).await {
        Ok(session) => {
            let _ = session.close().await;
            Ok(true)
        }
        Err(sqlx::Error::Tls(_) | sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(ConnectError::of(address, &error)),
    }
}
