//! What the loads of a file share: their flags, how they are told, and how they end.

mod rejects;

use std::cell::RefCell;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use terminal::{CommandLine, Exit, Failure, counted_were, interrupted};
use uuid::Uuid;

use super::context::Context;
use super::failure;
use super::load::{self, LoadFlags, with_completion};
use super::progress::{Counting, run_line};
use super::source::{Position, Source};
use crate::bank::Bank;
use crate::bank::file::{FileError, OnError};
use crate::bank::load::{Loading, Rejected};
use rejects::Rejects;

#[derive(Debug, clap::Args)]
pub(super) struct RowFlags {
    /// What to do about a row that cannot be added
    #[arg(long, value_enum, default_value_t)]
    on_error: OnBadRow,

    /// Where rows that are skipped are written, as line, reason and row; the row as it was, so a spreadsheet may take it for a formula
    #[arg(long, value_name = "FILE", required_if_eq("on_error", "skip"))]
    rejects: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnBadRow {
    /// Stop before its chunk, and say how to go on
    #[default]
    Stop,
    /// Write it to --rejects and go on
    Skip,
}

impl RowFlags {
    /// What is told of rows that were left out, where there are any.
    pub(super) fn left_out(&self, rejected: u64) -> String {
        match &self.rejects {
            Some(rejects) if rejected > 0 => {
                format!("\n{} left out: see {}.", counted_were(rejected, "row"), rejects.display())
            }
            _ => String::new(),
        }
    }
}

/// What is done with a file.
pub(super) struct Task<'a> {
    /// The command's name.
    pub(super) command: &'static str,
    /// What is done to the file, as in "cannot be imported".
    pub(super) done: &'static str,
    /// What one of its rows is called.
    pub(super) unit: &'static str,
    pub(super) file: &'a Path,
    /// The rows of a transaction where nothing is said.
    pub(super) chunk: usize,
}

/// A file on its way.
pub(super) struct Going<'a> {
    context: &'a Context,
    pub(super) bank: Bank,
    pub(super) loading: Loading,
    pub(super) on_error: OnError,
    rejects: RefCell<Option<Rejects>>,
    counting: RefCell<Counting>,
    position: Position,
    started: Instant,
    /// What completes it, and what does so in smaller chunks.
    again: String,
    smaller: String,
    done: &'static str,
}

/// How it ended.
pub(super) struct Ended<T> {
    pub(super) came_to: T,
    /// Why it is not the whole of it, where it is not.
    pub(super) failure: Option<Failure>,
    pub(super) retries: u64,
    pub(super) seconds: f64,
    pub(super) run: Uuid,
}

impl<'a> Going<'a> {
    /// Opens the file and the bank, and tells the run.
    pub(super) async fn start(
        context: &'a Context,
        task: &Task<'_>,
        flags: &LoadFlags,
        rows: &RowFlags,
    ) -> Result<(Self, Source), Failure> {
        if rows.on_error == OnBadRow::Stop && rows.rejects.is_some() {
            return Err(Failure::usage("--rejects is where skipped rows go: add --on-error skip"));
        }
        let path = task.file.to_owned();
        let source = context.blocking(move || Source::open(&path)).await?;
        let bank = context.bank_to_write(flags.at_once()).await?;
        let (path, repeated) = (rows.rejects.clone(), flags.run.is_some());
        let create = move || path.map(|path| Rejects::create(&path, repeated)).transpose();
        let rejects = context.blocking(create).await?;
        let loading = flags.loading(context, task.chunk);
        let command = command(task, rows);
        let again = load::again(command.clone(), &loading);
        // A chunk's name is its content's, so a run takes chunks of another size.
        let half = NonZero::new(loading.chunk.get() / 2).unwrap_or(loading.chunk);
        let smaller = load::again(command, &Loading { chunk: half, ..loading.clone() });
        context.progress().say(&run_line(task.command, loading.run));
        context.if_cut_off(interrupted(&format!("to complete it run `{again}`")));
        let going = Self {
            context,
            bank,
            on_error: if rejects.is_some() { OnError::Skip } else { OnError::Stop },
            rejects: RefCell::new(rejects),
            counting: RefCell::new(context.progress().through(source.size(), task.unit)),
            position: source.position(),
            started: Instant::now(),
            again,
            smaller,
            loading,
            done: task.done,
        };
        Ok((going, source))
    }

    /// So many rows are done.
    pub(super) fn done(&self, rows: u64) {
        self.counting.borrow_mut().done_at(rows, self.position.get());
    }

    /// Writes a row that is left out.
    pub(super) fn reject(&self, row: &Rejected) -> io::Result<()> {
        match &mut *self.rejects.borrow_mut() {
            Some(rejects) => rejects.write(row, |line| self.counting.borrow().say(line)),
            None => Ok(()),
        }
    }

    pub(super) fn end<T>(self, ended: Result<T, (FileError, T)>) -> Ended<T> {
        drop(self.counting);
        let (came_to, failure) = match ended {
            Ok(came_to) => {
                let interruption = self.context.interruption(format!("to complete it run `{}`", self.again));
                (came_to, interruption)
            }
            Err((error, came_to)) => (came_to, Some(failed(&error, self.done, &self.again, &self.smaller))),
        };
        Ended {
            came_to,
            failure,
            retries: self.bank.counts().retries,
            seconds: self.started.elapsed().as_secs_f64(),
            run: self.loading.run,
        }
    }
}

/// The command that a run is told again with.
fn command(task: &Task<'_>, rows: &RowFlags) -> CommandLine {
    let command = CommandLine::new(task.command).argument(task.file.display());
    match &rows.rejects {
        Some(path) => command.flag("--on-error", "skip").flag("--rejects", path.display()),
        None => command,
    }
}

fn failed(error: &FileError, done: &str, again: &str, smaller: &str) -> Failure {
    let fail = |kind, remedy: &str| Failure::new(Exit::Failed, kind, format!("{error}; {remedy} `{again}`"));
    match error {
        FileError::Header(reason) => Failure::usage(format!("the file cannot be {done}: {reason}")),
        FileError::Rejected(_) => {
            fail("rejected", "what was in whole chunks before it is in place: mend the line, then run")
        }
        FileError::Unreadable(_) => fail("unreadable", "mend the file, then run"),
        FileError::NoTemporary(_) => {
            Failure::usage(format!("{error}: set the variable TMPDIR to a folder where this user may write"))
        }
        FileError::Unwritable(_) => fail("unwritable", "make room for it, then run"),
        FileError::Load(error) => match failure::loading(error, again) {
            slow if slow.kind == failure::CHUNK_TIMEOUT => Failure {
                line: format!("{}, as in `{smaller}`, which completes the rest", slow.line),
                ..slow
            },
            failure => with_completion(failure, again),
        },
    }
}
