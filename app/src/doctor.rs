//! Checks whether a database is ready for the bank. Each check returns a finding and, on failure,
//! what to do. Changes nothing.

mod capacity;
mod pace;
mod protection;
mod retry;
mod rights;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::bank::query::fetch_one;
use crate::bank::{Error, Runner};
use database::{Address, Database, Server, reason, sqlstate};
use sea_orm::{DbErr, QueryResult};
use sea_orm_retry::{Class, Policy, Tx};
use serde::Serialize;

/// A check's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Ready.
    Ok,
    /// The bank works, but something is wrong or hidden.
    Warn,
    /// The bank does not work, or a guarantee does not hold.
    Fail,
}

/// A check's result.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check, in snake_case.
    pub check: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless `found` already says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The measured time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
}

/// The database to examine.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Its address.
    pub address: Address,
    /// Its pool, of at least two connections: a conflict needs two.
    pub database: Database,
    /// The bank's connections.
    pub connections: u32,
    /// The server's processors, all nodes together.
    pub server_cores: Option<u32>,
    /// How transactions are retried.
    pub policy: Policy,
}

/// Runs all checks and reports each finding at once.
pub async fn examine(patient: &Patient, mut tell: impl FnMut(Finding)) {
    let policy = &patient.policy;
    let policy = Policy {
        answer_deadline: policy.answer_deadline.min(ANSWER_MAX),
        total_time: policy.total_time.min(CHECK_MAX),
        ..policy.clone()
    };
    let runner = Runner::new(&patient.database, policy);
    let closed = internals_are_closed(&runner).await;
    let _ = checks(patient, &runner, &mut |check, found| {
        let is_lost = found.as_ref().is_err_and(|unseen| unseen.lost);
        tell(Finding::new(check, found, closed));
        // Further checks would wait as long.
        if is_lost { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await;
}

const ANSWER_MAX: Duration = Duration::from_secs(10);
const CHECK_MAX: Duration = Duration::from_secs(20);

async fn checks(
    patient: &Patient,
    runner: &Runner,
    add: &mut impl FnMut(&'static str, Result<State, Unseen>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Patient { address, database, .. } = patient;
    let standby = database.is_standby;
    add("url", Ok(State::ok(address.to_string())))?;
    add("server", Ok(server(address, database)))?;
    add("pooler", Ok(protection::pooler(database)))?;
    add("tls", protection::tls(address).await)?;
    add("isolation", protection::isolation(runner, standby).await)?;
    add("durability", protection::durability(runner).await)?;
    let schema = rights::schema(database).await;
    let migrated = schema.as_ref().is_ok_and(|state| state.verdict == Verdict::Ok);
    add("migrations", schema)?;
    add("rights", rights::rights(runner, migrated, standby).await)?;
    add("round_trip", pace::round_trip(runner).await)?;
    add("clock", pace::clock(runner).await)?;
    add("nodes", capacity::nodes(runner, standby).await)?;
    add("pool", capacity::pool(runner, patient).await)?;
    add("retry", retry::provoked(database, runner).await)
}

/// Whether CockroachDB (since v26.1) refuses its internals to every session.
async fn internals_are_closed(runner: &Runner) -> bool {
    if runner.server() != Server::Cockroach {
        return false;
    }
    let setting = ask(runner, "SHOW allow_unsafe_internals").await.ok();
    setting.and_then(|row| row.try_get_by_index::<String>(0).ok()).is_some_and(|setting| setting == "off")
}

/// The only finding if no server answers.
#[must_use]
pub fn no_connection(line: &str) -> Finding {
    let state = State { verdict: Verdict::Fail, ..State::ok(line) };
    Finding::new("connection", Ok(state), false)
}

fn server(address: &Address, database: &Database) -> State {
    let version = database.version.split(" (").next().unwrap_or(&database.version);
    if address.scheme() == "cockroachdb" && database.server != Server::Cockroach {
        return State::warn(
            format!("{version}, but the URL says CockroachDB"),
            "give the URL of a CockroachDB node, or write postgres:// for this server",
        );
    }
    State::ok(version)
}

struct State {
    verdict: Verdict,
    found: String,
    remedy: Option<String>,
    milliseconds: Option<f64>,
}

impl State {
    fn ok(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, found: found.into(), remedy: None, milliseconds: None }
    }

    fn warn(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Self::ok(found) }
    }

    fn fail(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(found, remedy) }
    }

    fn measured(self, milliseconds: f64) -> Self {
        Self { milliseconds: Some(milliseconds), ..self }
    }
}

struct Unseen {
    denied: bool,
    /// The connection is lost or the server silent.
    lost: bool,
    reason: String,
}

impl From<DbErr> for Unseen {
    fn from(error: DbErr) -> Self {
        Self {
            denied: sqlstate(&error).as_deref() == Some("42501"),
            lost: Class::of(&error) == Class::Lost,
            reason: reason(&error),
        }
    }
}

impl From<Error<DbErr>> for Unseen {
    fn from(error: Error<DbErr>) -> Self {
        match error {
            Error::Body(error) | Error::Database { error, .. } => error.into(),
            other => {
                let lost = other.attempts().last().is_some_and(|last| last.class == Class::Lost);
                Self { denied: false, lost, reason: other.to_string() }
            }
        }
    }
}

impl Finding {
    /// `closed`: whether the server refuses its internals to every session.
    fn new(check: &'static str, found: Result<State, Unseen>, closed: bool) -> Self {
        let State { verdict, found, remedy, milliseconds } = found.unwrap_or_else(|unseen| match unseen {
            Unseen { denied: true, .. } if closed => State::warn(
                "the server hides its internals from every session",
                "have an administrator run ALTER ROLE … SET allow_unsafe_internals = on for this user, then run doctor again",
            ),
            Unseen { denied: true, .. } => {
                State::warn("this user may not see it", "run doctor once as an administrator")
            }
            Unseen { lost: true, reason, .. } => State::fail(
                format!("the server does not answer, so the remaining checks are skipped: {reason}"),
                "check the server and the network, then run doctor again",
            ),
            Unseen { reason, .. } => {
                State::fail(format!("cannot be checked: {reason}"), "see the statements with --echo")
            }
        });
        Self { check, verdict, found, remedy, milliseconds }
    }
}

/// A query's only row, outside any transaction.
async fn ask(runner: &Runner, sql: &str) -> Result<QueryResult, Error<DbErr>> {
    runner.query("doctor", async |tx: &Tx| fetch_one(tx, sql).await).await
}
