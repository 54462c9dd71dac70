//! Exit codes and failures.

use std::process::ExitCode;

use database::ConnectError;

use crate::say;

/// The exit codes. If several apply, the first in this order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 2: wrong usage; nothing was contacted.
    Usage,
    /// 3: the audit found the bank broken.
    Broken,
    /// 4: an outcome is unknown.
    Unknown,
    /// 5: no database, or its schema is not migrated.
    NoDatabase,
    /// 1: anything else failed.
    Failed,
    /// 130: interrupted by ctrl-C.
    Interrupted,
    /// 143: ended by SIGTERM, a clean end for service managers.
    Terminated,
    /// 141: the reader of the output went away too early.
    ReaderGone,
    /// 0: done.
    Done,
}

impl Exit {
    /// The process's exit code.
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

/// A failed command, in one line: what happened, to what, and what to do next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// For scripts, in snake_case.
    pub kind: &'static str,
    /// The line.
    pub line: String,
}

impl Failure {
    /// Joins the lines of a database's message.
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

    /// Writes the line to standard error, unless its reader is gone.
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
