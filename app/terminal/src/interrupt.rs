//! Interruption: the first ctrl-C or SIGTERM asks a command to end well, the second ends the process. Output that can no
//! longer be written is an interruption, too.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bar::erase_shown;
use crate::{Exit, Failure};

/// How long a server is waited for when its sessions are closed after an interruption.
pub const CLOSE_INTERRUPTED: Duration = Duration::from_millis(100);

/// Why a command is to end early.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// A signal, by the exit that it comes to.
    Signal(Exit),
    /// The output cannot be written.
    OutputLost { reader_gone: bool, reason: String },
}

/// The first cause; later ones change nothing.
static CAUSE: OnceLock<Cause> = OnceLock::new();

/// Cancelled when there is a cause.
static INTERRUPTED: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// SIGXFSZ, which ends a process that writes more to a file than `ulimit -f` lets it.
const FILE_SIZE_LIMIT: i32 = 25;

/// What to remove where the process ends without going through its destructors.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Listens for interruptions in the background; the first cancels what is returned and calls `say`.
///
/// # Errors
///
/// Where the operating system lets nobody listen. Call it inside a runtime.
pub fn interruption(say: impl Fn() + Send + 'static) -> Result<CancellationToken, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, "signals", error.to_string()));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    // Whoever catches it hears of the limit from the write itself.
    let _ = listen(SignalKind::from_raw(FILE_SIZE_LIMIT))?;
    tokio::spawn(async move {
        let mut signalled = false;
        loop {
            let exit = tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            };
            if signalled {
                erase_shown();
                remove_unfinished();
                std::process::exit(exit.code().into());
            }
            signalled = true;
            end(Cause::Signal(exit));
            say();
        }
    });
    Ok(INTERRUPTED.clone())
}

/// What a command ends in that was interrupted.
#[must_use]
pub fn interrupted(what_now: &str) -> Failure {
    CAUSE.get().unwrap_or(&Cause::Signal(Exit::Interrupted)).failure(what_now)
}

/// Asks the command to end.
pub(crate) fn end(cause: Cause) {
    let _ = CAUSE.set(cause);
    INTERRUPTED.cancel();
}

/// A file or folder that is to be gone when the process ends before this does.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Notes a path; that it is removed otherwise is its owner's task.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        unfinished().push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().retain(|path| *path != self.0);
    }
}

fn unfinished() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove_unfinished() {
    for path in unfinished().iter() {
        // Nobody is left to be told of what cannot be removed.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}
