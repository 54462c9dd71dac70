//! One cell: one fault at one point, with one kind of body; what is to come of it, and what did.

use std::fmt;
use std::time::Duration;

use database::{Address, Database, Options, connect};
use sea_orm::ConnectionTrait;
use sea_orm_retry::Policy;
use seabank::bank::{Error, Runner};
use tests::Proxy;
use tokio::sync::watch;

use super::arena::{Arena, Held};
use super::point::Point;
use super::script::{OwnError, Script};
use super::table::reason;
use super::trouble::{DEADLINE, Then, Trouble};

/// What the body promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contract {
    /// Its first statement writes its own id: it can be run again after an unknown.
    Idempotent,
    /// It cannot tell whether it has been applied.
    Once,
}

/// What a cell has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The run tells this, and the server holds so many of it.
    End(Told, i64),
    /// Nothing: the fault has no meaning there. The letter of the reason.
    Nothing(char),
}

/// What a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Applied, at the first attempt.
    AtOnce,
    /// Applied, after more than one.
    Retried,
    /// Applied, whichever.
    Applied,
    Failed,
    Unknown,
    /// It was dropped, and says nothing.
    Dropped,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The name of the fault.
    pub(super) name: &'static str,
    pub(super) point: Point,
    pub(super) trouble: Trouble,
    pub(super) contract: Contract,
    pub(super) expected: Expected,
}

/// What came of a cell.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) told: Told,
    attempts: u64,
    held: Held,
    /// What else is wrong: a transaction left open, an update half applied, a fault that never struck.
    complaints: Vec<String>,
    error: Option<String>,
}

impl Expected {
    /// The expectation that a cell of the table's text stands for.
    pub(super) fn of_text(text: &str) -> Self {
        let (told, held) = match text {
            "A" => (Told::AtOnce, 1),
            "R" => (Told::Retried, 1),
            "P" => (Told::Applied, 1),
            "N" => (Told::Failed, 0),
            "U1" => (Told::Unknown, 1),
            "U0" => (Told::Unknown, 0),
            "D1" => (Told::Dropped, 1),
            "D0" => (Told::Dropped, 0),
            text => {
                let letter = text.strip_prefix('-').and_then(|it| it.chars().next());
                return Self::Nothing(letter.unwrap_or_else(|| panic!("not an expectation: {text}")));
            }
        };
        Self::End(told, held)
    }

    /// Whether a cell came to this.
    pub(super) fn is_met_by(self, ended: &Ended) -> bool {
        let Self::End(told, held) = self else { return false };
        let told_so = match told {
            Told::Applied => matches!(ended.told, Told::AtOnce | Told::Retried),
            told => told == ended.told,
        };
        told_so && ended.held.times == held && ended.complaints.is_empty()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(letter) => write!(f, "means nothing: {}", reason(*letter)),
            Self::End(told, held) => f.write_str(words(*told, *held)),
        }
    }
}

impl fmt::Display for Ended {
    /// As an expectation reads; with everything that is known where something is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(words(self.told, self.held.times))?;
        if f.alternate() {
            write!(f, " ({} attempts, {:?}", self.attempts, self.held)?;
            for note in self.complaints.iter().chain(&self.error) {
                write!(f, "; {note}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

fn words(told: Told, held: i64) -> &'static str {
    match (told, held) {
        (Told::AtOnce | Told::Applied, 1) => "applied",
        (Told::Retried, 1) => "retried, applied",
        (Told::Failed, 0) => "failed, not applied",
        (Told::Unknown, 0) => "unknown, not applied",
        (Told::Unknown, 1) => "unknown, applied",
        (Told::Dropped, 0) => "dropped, not applied",
        (Told::Dropped, 1) => "dropped, applied",
        (Told::AtOnce | Told::Applied | Told::Retried, 0) => "LOST: told applied, not there",
        (Told::Failed, 1) => "told failed, yet applied",
        (_, _) => "APPLIED MORE THAN ONCE",
    }
}

impl Cell {
    /// Plays it on the slot's tables, with a proxy and a pool of its own.
    pub(super) async fn play(&self, arena: &Arena, slot: usize, number: i64) -> Ended {
        let proxy = arena.bank.proxy().await;
        let name = format!("cell_{number}");
        let database = self.pool(&proxy.url(&arena.url(&name))).await;
        let runner = Runner::new(&database, self.policy());
        let script = Script::new(arena, self, slot, number);
        arena.prepare(slot, number).await;
        self.prepare_pool(arena, &proxy, &database, &script).await;

        let (plan, mut struck) = self.trouble.plan(self.point);
        proxy.arm(plan);
        let result = self.run(arena, &runner, &script, &mut struck).await;
        let attempts = runner.counts().attempts;

        proxy.settle().await;
        let mut complaints = Vec::new();
        if !arena.is_quiet(&name).await {
            complaints.push("a transaction is still open on the server".to_owned());
        }
        let held = arena.held(slot, number).await;
        complaints.extend(held.inconsistency(self.contract == Contract::Once));
        if self.strikes() && *struck.borrow() == 0 {
            complaints.push("the fault never struck".to_owned());
        }
        let (told, error) = match result {
            None => (Told::Dropped, None),
            Some(Ok(())) if attempts == 1 => (Told::AtOnce, None),
            Some(Ok(())) => (Told::Retried, None),
            Some(Err(error @ Error::Unknown { .. })) => (Told::Unknown, Some(error.to_string())),
            Some(Err(error)) => (Told::Failed, Some(error.to_string())),
        };
        if told == Told::Dropped && self.contract == Contract::Idempotent {
            complaints.extend(self.ask_again(arena, &runner, &script).await);
        }
        Ended { told, attempts, held, complaints, error }
    }

    /// The run itself; `None` where it was dropped.
    async fn run(
        &self,
        arena: &Arena,
        runner: &Runner,
        script: &Script,
        struck: &mut watch::Receiver<u32>,
    ) -> Option<Result<(), Error<OwnError>>> {
        match self.trouble {
            Trouble::Dropped => tokio::select! {
                result = script.run(runner) => Some(result),
                _ = struck.wait_for(|times| *times > 0) => None,
            },
            Trouble::StatementTimeout => {
                let locked = arena.lock(script).await;
                let (result, ()) = tokio::join!(script.run(runner), locked.release_later());
                Some(result)
            }
            Trouble::AtOnce { .. } => {
                let (one, other) = tokio::join!(script.run(runner), script.run(runner));
                Some(one.and(other))
            }
            _ => Some(script.run(runner).await),
        }
    }

    /// A dropped run has told nothing; asked again with its id, all is well.
    async fn ask_again(&self, arena: &Arena, runner: &Runner, script: &Script) -> Option<String> {
        if let Err(error) = script.run_again(runner).await {
            return Some(format!("asked again: {error}"));
        }
        let held = arena.held(script.slot, script.number).await;
        (held.times != 1).then(|| format!("asked again: {held:?}"))
    }

    async fn pool(&self, url: &str) -> Database {
        let one_connection =
            matches!(self.trouble, Trouble::CachedPlan | Trouble::PooledDead | Trouble::PooledAborted);
        let mut options =
            Options { max_connections: if one_connection { 1 } else { 4 }, ..Options::default() };
        if self.trouble == Trouble::StatementTimeout {
            options.statement_timeout = Some(Duration::from_millis(300));
        }
        let address = Address::parse(url).expect("a good URL");
        connect(&address, &options).await.unwrap_or_else(|error| panic!("{error}"))
    }

    fn policy(&self) -> Policy {
        let answers = !self.trouble.is_silent();
        let in_vain = matches!(self.trouble, Trouble::Wire(_, Then::Same | Then::NoServer | Then::Conflicts));
        Policy {
            attempts_max: if in_vain { 3 } else { 8 },
            total_time: Duration::from_secs(25),
            answer_deadline: if answers { Duration::from_secs(20) } else { DEADLINE },
            pause_first: Duration::from_millis(2),
            pause_max: Duration::from_millis(100),
            savepoint_restarts: self.point.needs_savepoint().then_some(1),
            ..Policy::default()
        }
    }

    /// What has to have happened on the pool before the fault.
    async fn prepare_pool(&self, arena: &Arena, proxy: &Proxy, database: &Database, script: &Script) {
        let one = &database.connection;
        match self.trouble {
            Trouble::CachedPlan => {
                one.query_one_raw(script.statement_to_cache()).await.expect("it can be prepared");
                arena.migrate(script.slot, script.number).await;
            }
            Trouble::PooledDead => {
                one.execute_unprepared("SELECT 1").await.expect("a connection");
                // The pool looks at what comes back to it, and has done so by then.
                tokio::time::sleep(Duration::from_millis(100)).await;
                proxy.cut_idle();
            }
            Trouble::PooledAborted => {
                one.execute_unprepared("BEGIN").await.expect("a connection");
                one.execute_unprepared("SELECT 1 FROM nowhere").await.expect_err("no such table");
            }
            _ => {}
        }
    }

    /// Whether the proxy has something to do in it.
    fn strikes(&self) -> bool {
        matches!(self.trouble, Trouble::Wire(..) | Trouble::Dropped | Trouble::AtOnce { lost: true })
    }
}
