//! Interruption: the first ctrl-C or SIGTERM asks a command to end well, the second ends the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Exit, Failure};

/// Listens for interruptions in the background; the first cancels what is returned and calls `say`.
///
/// # Errors
///
/// Where the operating system lets nobody listen. Call it inside a runtime.
pub fn interruption(say: impl Fn() + Send + 'static) -> Result<CancellationToken, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, "signals", error.to_string()));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let interrupted = CancellationToken::new();
    let told = interrupted.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if told.is_cancelled() {
                std::process::exit(Exit::Interrupted.code().into());
            }
            told.cancel();
            say();
        }
    });
    Ok(interrupted)
}

/// What a command ends in that was interrupted.
#[must_use]
pub fn interrupted(what_now: &str) -> Failure {
    Failure::new(Exit::Interrupted, "interrupted", format!("interrupted: {what_now}"))
}
