//! How a run ends without a result, and whether anything is applied then.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::error::{DatabaseError, ErrorKind};

use crate::class::{driver_error, is_mixed_up, reason, sqlstate};
use crate::{Class, Failure, Phase, Run};

/// Why a run ended without a result, other than by its body's own error. Cloning is cheap.
///
/// It converts into the caller's error by `From`; [`Ended::of`] finds it again in a [`DbErr`].
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Ended(Arc<Inner>);

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Inner {
    name: &'static str,
    kind: Kind,
    #[source]
    first: DbErr,
    body: Option<String>,
    attempts: Vec<Attempt>,
    text: String,
}

/// The hint for a prepared statement that belongs to another session, or is gone after the cache
/// was cleared.
const POOLER: &str = "; a pooler in transaction mode mixes up its clients' prepared statements: set Policy::unnamed_statements";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The run was refused before anything was sent. Nothing is applied.
    Refused,
    /// The database refused, in a way that trying again would not change, and the body did not
    /// return an error. Nothing is applied.
    Failed,
    /// Every attempt failed, and another might have succeeded. Nothing is applied.
    RetriesExhausted,
    /// The commit is ambiguous: its answer was lost, and no later attempt settled it. It may be
    /// applied, now or later.
    Unknown,
}

/// One failed attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What the runner was doing.
    pub phase: Phase,
    /// The first error of the attempt.
    pub error: DbErr,
    /// What it means.
    pub class: Class,
}

impl Attempt {
    pub(crate) fn new(phase: Phase, (error, class): Failure) -> Self {
        Self { phase, error, class }
    }

    /// Why it failed, in a word: the code of its error; without one, `conflict` after
    /// [`Tx::again`](crate::Tx::again), `no answer` after a lost connection, and otherwise `refused`.
    pub fn cause(&self) -> Cow<'_, str> {
        let otherwise = if self.class == Class::Lost { "no answer" } else { "refused" };
        let without_code = if self.class == Class::Conflict { "conflict" } else { otherwise };
        sqlstate(&self.error).unwrap_or(Cow::Borrowed(without_code))
    }
}

impl Ended {
    /// `first`: the error that decided; `body`: the body's error in words.
    pub(crate) fn new(run: Run, kind: Kind, first: DbErr, body: Option<String>) -> Self {
        let how = match kind {
            Kind::Refused => "refused",
            Kind::Failed => "failed",
            Kind::RetriesExhausted => "given up",
            Kind::Unknown => "it is not known whether the transaction is applied",
        };
        // The body's error is mostly the database's once more, wrapped.
        let known = run.failed.last().map(|attempt| reason(&attempt.error)).unwrap_or_default();
        let said = body.as_deref().filter(|body| known.is_empty() || !body.contains(&known));
        let said = said.map(|body| format!("; its body said: {body}")).unwrap_or_default();
        let (why, codes) = (reason(&first), codes(&run.failed));
        let pooler = if is_mixed_up(&first) { POOLER } else { "" };
        let text = format!("transaction \"{}\": {how}: {why}{codes}{said}{pooler}", run.name);
        Self(Arc::new(Inner { name: run.name, kind, first, body, attempts: run.failed, text }))
    }

    /// The name that was given to the run.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How it ended.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the transaction may be applied, or may still be; otherwise it is not and will not
    /// be.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        self.0.kind == Kind::Unknown
    }

    /// The error that decided: the one that made it unknown, the database's refusal, or the first
    /// of the retries.
    pub fn first(&self) -> &DbErr {
        &self.0.first
    }

    /// The body's last error in words, if it returned one.
    pub fn body_error(&self) -> Option<&str> {
        self.0.body.as_deref()
    }

    /// Its text without the name of the run.
    pub fn summary(&self) -> &str {
        self.0.text.get(self.0.name.len() + "transaction \"\": ".len()..).unwrap_or_default()
    }

    /// The failed attempts, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// The `Ended` that was converted into this error, if it was one.
    pub fn of(error: &DbErr) -> Option<&Self> {
        driver_error(error)?.as_database_error()?.try_downcast_ref()
    }
}

/// Nothing for one attempt; otherwise their number and codes, as in ` (3 attempts: 40001, 40001,
/// 08006)`.
fn codes(attempts: &[Attempt]) -> String {
    const SHOWN: usize = 10;
    if attempts.len() < 2 {
        return String::new();
    }
    let codes = attempts.iter().map(Attempt::cause);
    let more = if attempts.len() > SHOWN { ", …" } else { "" };
    format!(" ({} attempts: {}{more})", attempts.len(), codes.take(SHOWN).collect::<Vec<_>>().join(", "))
}

impl From<Ended> for DbErr {
    fn from(ended: Ended) -> Self {
        let error = sqlx::Error::Database(Box::new(ended));
        Self::Exec(RuntimeErr::SqlxError(Arc::new(error)))
    }
}

/// Carries an [`Ended`] through a [`DbErr`]. The code is that of the first error.
impl DatabaseError for Ended {
    fn message(&self) -> &str {
        &self.0.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        sqlstate(&self.0.first)
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
