//! A cell of the matrix: one fault at one point with one kind of body.

use std::fmt;
use std::time::Duration;

use database::{Address, Database, Options, connect};
use sea_orm::ConnectionTrait;
use sea_orm_retry::Policy;
use seabank::bank::{Error, Runner};
use tests::Proxy;
use tokio::sync::watch;

use super::arena::{Arena, Contents};
use super::point::Point;
use super::script::Script;
use super::table::reason;
use super::trouble::{DEADLINE, Then, Trouble};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contract {
    /// Its first statement writes its own id, so it can be retried after an ambiguous commit.
    Idempotent,
    /// It cannot detect an earlier attempt.
    Once,
    /// A chunk of transfers.
    Chunk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The report of the run, and how often the server has applied it.
    End(Reported, i64),
    /// The fault is meaningless there, for the reason with this letter.
    Nothing(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// Applied by the first attempt.
    AtOnce,
    /// Applied by a later attempt.
    Retried,
    /// Applied by any attempt.
    Applied,
    Failed,
    Unknown,
    /// Nothing: it was dropped.
    Dropped,
}

/// Why a run has not applied its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    is_unknown: bool,
    text: String,
}

impl Failure {
    pub(super) fn of<E: fmt::Display>(error: &Error<E>) -> Self {
        Self { is_unknown: error.may_be_applied(), text: error.to_string() }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) name: &'static str,
    pub(super) point: Point,
    pub(super) trouble: Trouble,
    pub(super) contract: Contract,
    pub(super) expected: Expected,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reported: Reported,
    attempts: u64,
    contents: Contents,
    /// Other problems: an open transaction, a partial update, a fault that never struck.
    complaints: Vec<String>,
    error: Option<String>,
}

impl Expected {
    pub(super) fn of_text(text: &str) -> Self {
        let (reported, times) = match text {
            "A" => (Reported::AtOnce, 1),
            "R" => (Reported::Retried, 1),
            "P" => (Reported::Applied, 1),
            "N" => (Reported::Failed, 0),
            "U1" => (Reported::Unknown, 1),
            "U0" => (Reported::Unknown, 0),
            "D1" => (Reported::Dropped, 1),
            "D0" => (Reported::Dropped, 0),
            text => {
                let letter = text.strip_prefix('-').and_then(|it| it.chars().next());
                return Self::Nothing(letter.unwrap_or_else(|| panic!("not an expectation: {text}")));
            }
        };
        Self::End(reported, times)
    }

    pub(super) fn is_met_by(self, ended: &Ended) -> bool {
        let Self::End(reported, times) = self else { return false };
        let is_reported = match reported {
            Reported::Applied => matches!(ended.reported, Reported::AtOnce | Reported::Retried),
            reported => reported == ended.reported,
        };
        is_reported && ended.contents.times == times && ended.complaints.is_empty()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(letter) => write!(f, "means nothing: {}", reason(*letter)),
            Self::End(reported, times) => f.write_str(words(*reported, *times)),
        }
    }
}

impl fmt::Display for Ended {
    /// As an expectation; the alternate form adds everything that is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(words(self.reported, self.contents.times))?;
        if f.alternate() {
            write!(f, " ({} attempts, {:?}", self.attempts, self.contents)?;
            for note in self.complaints.iter().chain(&self.error) {
                write!(f, "; {note}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

fn words(reported: Reported, times: i64) -> &'static str {
    match (reported, times) {
        (Reported::AtOnce | Reported::Applied, 1) => "applied",
        (Reported::Retried, 1) => "retried, applied",
        (Reported::Failed, 0) => "failed, not applied",
        (Reported::Unknown, 0) => "unknown, not applied",
        (Reported::Unknown, 1) => "unknown, applied",
        (Reported::Dropped, 0) => "dropped, not applied",
        (Reported::Dropped, 1) => "dropped, applied",
        (Reported::AtOnce | Reported::Applied | Reported::Retried, 0) => "LOST: reported applied, not there",
        (Reported::Failed, 1) => "reported failed, yet applied",
        (_, _) => "APPLIED MORE THAN ONCE",
    }
}

impl Cell {
    /// Plays the cell with a proxy and a pool of its own.
    pub(super) async fn play(&self, arena: &Arena, slot: usize, number: i64) -> Ended {
        let proxy = arena.bank.proxy().await;
        let name = format!("cell_{number}");
        let database = self.pool(&proxy.url(&arena.url(&name))).await;
        let runner = Runner::new(&database, self.policy());
        let script = Script::new(arena, self, slot, number);
        arena.prepare(&script).await;
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
        let contents = arena.contents(&script).await;
        complaints.extend(contents.inconsistency(self.contract == Contract::Once));
        if self.strikes() && *struck.borrow() == 0 {
            complaints.push("the fault never struck".to_owned());
        }
        let (reported, error) = match result {
            None => (Reported::Dropped, None),
            Some(Ok(())) if attempts == 1 => (Reported::AtOnce, None),
            Some(Ok(())) => (Reported::Retried, None),
            Some(Err(failure)) if failure.is_unknown => (Reported::Unknown, Some(failure.text)),
            Some(Err(failure)) => (Reported::Failed, Some(failure.text)),
        };
        if reported == Reported::Dropped && self.contract != Contract::Once {
            complaints.extend(self.ask_again(arena, &runner, &script).await);
        }
        Ended { reported, attempts, contents, complaints, error }
    }

    async fn run(
        &self,
        arena: &Arena,
        runner: &Runner,
        script: &Script,
        struck: &mut watch::Receiver<u32>,
    ) -> Option<Result<(), Failure>> {
        match self.trouble {
            Trouble::Dropped => tokio::select! {
                result = script.run(runner) => Some(result),
                _ = struck.wait_for(|times| *times > 0) => None,
            },
            Trouble::StatementTimeout => {
                let locked = arena.lock(script).await;
                let release = async {
                    while runner.counts().attempts == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    locked.release().await;
                };
                let (result, ()) = tokio::join!(script.run(runner), release);
                Some(result)
            }
            Trouble::AtOnce { .. } => {
                let (one, other) = tokio::join!(script.run(runner), script.run(runner));
                Some(one.and(other))
            }
            _ => Some(script.run(runner).await),
        }
    }

    /// After a dropped run, the same run with the same id applies the transaction once.
    async fn ask_again(&self, arena: &Arena, runner: &Runner, script: &Script) -> Option<String> {
        if let Err(failure) = script.run_again(runner).await {
            return Some(format!("asked again: {}", failure.text));
        }
        let contents = arena.contents(script).await;
        (contents.times != 1).then(|| format!("asked again: {contents:?}"))
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

    async fn prepare_pool(&self, arena: &Arena, proxy: &Proxy, database: &Database, script: &Script) {
        let one = &database.connection;
        match self.trouble {
            Trouble::CachedPlan => {
                one.query_one_raw(script.statement_to_cache()).await.expect("it can be prepared");
                arena.migrate(script.slot, script.number).await;
            }
            Trouble::PooledDead => {
                one.execute_unprepared("SELECT 1").await.expect("a connection");
                // By then the pool has pinged the released connection.
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

    /// Whether the proxy has a fault to inject.
    fn strikes(&self) -> bool {
        matches!(self.trouble, Trouble::Wire(..) | Trouble::Dropped | Trouble::AtOnce { lost: true })
    }
}
