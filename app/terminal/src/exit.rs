//! How a command ends.

use std::process::ExitCode;

use database::ConnectError;

use crate::say;

/// What the exit code says. Where several apply, the first in this order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 2: wrong usage; nothing was contacted.
    Usage,
    /// 3: the audit found the bank broken.
    Broken,
    /// 4: it is unknown whether something is applied.
    Unknown,
    /// 5: no database, or its schema is not migrated.
    NoDatabase,
    /// 1: anything else failed.
    Failed,
    /// 130: interrupted by ctrl-C.
    Interrupted,
    /// 143: ended by SIGTERM, which service managers take for a clean end.
    Terminated,
    /// 141: whoever read the output went away before the work was done.
    ReaderGone,
    /// 0: done.
    Done,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Broken => 3,
            Self::Unknown => 4,
            Self::NoDatabase => 5,
            Self::Failed => 1,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::ReaderGone => 141,
            Self::Done => 0,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not end well: one line that says what happened, to what, and what to do next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which exit code it comes to.
    pub exit: Exit,
    /// What kind of failure, in snake_case, for scripts.
    pub kind: &'static str,
    /// The line.
    pub line: String,
}

impl Failure {
    /// A failure; what a database says on several lines is put on one.
    #[must_use]
    pub fn new(exit: Exit, kind: &'static str, line: impl Into<String>) -> Self {
        let line: String = line.into();
        let line =
            line.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        Self { exit, kind, line }
    }

    /// Wrong usage.
    #[must_use]
    pub fn usage(line: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", line)
    }

    /// Writes the line to standard error. A reader that has gone is no news to anybody.
    pub fn tell(&self) {
        if self.exit != Exit::ReaderGone {
            say(&format!("error: {}", self.line));
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::BadUrl { .. } => Self::usage(error.to_string()),
            _ => Self::new(Exit::NoDatabase, "no_database", error.to_string()),
        }
    }
}
