//! Standard output and standard error.
//!
//! `println!` panics if the reader is gone or the disk is full. Here the first failed write is an
//! interruption ([`crate::interrupted`]).

use std::io::{self, Write};

use crate::bar::above_bar;
use crate::interrupt::{Cause, end};
use crate::{Exit, Failure};

/// Writes an answer and a line break to standard output.
///
/// # Errors
///
/// A [`Failure`]. Its exit says whether the reader is gone ([`Exit::ReaderGone`]).
pub fn print(text: &str) -> Result<(), Failure> {
    write(&mut io::stdout(), format!("{text}\n").as_bytes()).map_err(|error| lost(&error, "standard output"))
}

/// Writes a line to standard error.
pub fn say(line: &str) {
    prompt(&format!("{line}\n"));
}

/// Writes a question to standard error.
pub fn prompt(text: &str) {
    if let Err(error) = write(&mut io::stderr(), text.as_bytes()) {
        lost(&error, "standard error");
    }
}

fn write(stream: &mut impl Write, text: &[u8]) -> io::Result<()> {
    above_bar(|| {
        stream.write_all(text)?;
        stream.flush()
    })
}

/// Interrupts the command.
pub(crate) fn lost(error: &io::Error, stream: &'static str) -> Failure {
    let reader_gone = error.kind() == io::ErrorKind::BrokenPipe;
    let cause = Cause::OutputLost { reader_gone, reason: format!("{stream} cannot be written: {error}") };
    let failure = cause.failure("the answer is not written; what the command did stays as it is");
    end(cause);
    failure
}

/// The logs' writer. It reports no error, because the subscriber would print it to standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Err(error) = write(&mut io::stderr(), text) {
            lost(&error, "standard error");
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Cause {
    pub(crate) fn failure(&self, what_now: &str) -> Failure {
        match self {
            Self::Signal(exit) => Failure::new(*exit, "interrupted", format!("interrupted: {what_now}")),
            Self::OutputLost { reader_gone, reason } => {
                let (exit, kind) = if *reader_gone {
                    (Exit::ReaderGone, "reader_gone")
                } else {
                    (Exit::Failed, "unwritable")
                };
                Failure::new(exit, kind, format!("{reason}: {what_now}"))
            }
        }
    }
}
