//! Interruption: the first ctrl-C or SIGTERM asks a command to end, the second ends the process.
//! Output that cannot be written is an interruption too.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::bar::erase_shown;
use crate::{Exit, Failure};

/// The longest wait for a server to close its sessions after an interruption.
pub const CLOSE_INTERRUPTED: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Signal(Exit),
    OutputLost { reader_gone: bool, reason: String },
}

/// The first cause.
static CAUSE: OnceLock<Cause> = OnceLock::new();

static INTERRUPTED: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// SIGXFSZ: the process exceeds `ulimit -f`.
const FILE_SIZE_LIMIT: i32 = 25;

/// Removed before the process ends without destructors.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Listens in the background. The first signal cancels the token and calls `say`. Call it inside a
/// runtime.
///
/// # Errors
///
/// If the operating system refuses the listeners.
pub fn interruption(say: impl Fn() + Send + 'static) -> Result<CancellationToken, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, "signals", error.to_string()));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    // Once it is caught, the write itself fails.
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

/// The failure of an interrupted command.
#[must_use]
pub fn interrupted(what_now: &str) -> Failure {
    CAUSE.get().unwrap_or(&Cause::Signal(Exit::Interrupted)).failure(what_now)
}

pub(crate) fn end(cause: Cause) {
    let _ = CAUSE.set(cause);
    INTERRUPTED.cancel();
}

/// A file or folder that is removed if the process ends early.
#[derive(Debug)]
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Registers a path. Otherwise its owner removes it.
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
        // An error has no reader any more.
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}
