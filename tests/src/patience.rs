//! Set-up that waits with patience: a busy machine is slow, not broken, and the app's own limits are not the harness's.

use std::time::Duration;

use ::database::{Address, ConnectError, Database, Options, connect};

/// The longest that set-up waits for a server, a session or a lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A pool at `url` that waits so long for each of its connections.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn connect_patiently(url: &str, options: &Options) -> Result<Database, ConnectError> {
    let options = Options { connect_timeout: PATIENCE, internals: true, ..options.clone() };
    connect(&Address::parse(url)?, &options).await
}
