//! Long timeouts for set-up: a busy machine is slow, not broken.

use std::time::Duration;

use ::database::{Address, ConnectError, Database, Options, connect};

/// The longest wait for a server, a session or a lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A pool with this timeout for each connection.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn connect_patiently(url: &str, options: &Options) -> Result<Database, ConnectError> {
    let options = Options { connect_timeout: PATIENCE, internals: true, ..options.clone() };
    connect(&Address::parse(url)?, &options).await
}
