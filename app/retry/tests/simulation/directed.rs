//! Planned faults: the requests in order, and the reported outcome.

mod attempt;
mod bounds;
mod events;
mod savepoint;
mod statement;
mod unknown;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_orm_retry::{AttemptEnded, Kind as Ending, Observer, Phase, Policy, Runner, Server, Tx, sqlstate};
use tokio::time::Instant;

use crate::bodies::ask;
use crate::client::{Kind, Order, Refusal, run};
use crate::counter::{Counter, Counts};
use crate::fate::Fate;
use crate::request::{Request, Row};
use crate::server::Answer;
use crate::wire::World;

use Server::{Cockroach, Postgres, Sqlite};

const ROW: Row = Row { source: 0, target: 1, amount: 10, run: 1 };
const CONFLICT: Fate = Fate::Refused { code: "40001", applied: false };

fn refused(code: &'static str) -> Fate {
    Fate::Refused { code, applied: false }
}

/// What a body states about earlier attempts.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Applied,
    NotApplied,
}

impl Proof {
    fn state(self, tx: &Tx) {
        match self {
            Self::Applied => tx.proved_applied(),
            Self::NotApplied => tx.proved_not_applied(),
        }
    }
}

#[derive(Clone, Debug)]
struct Failed {
    phase: Phase,
    code: Option<String>,
}

#[derive(Default)]
struct Watch(Mutex<Vec<Failed>>);

impl Observer for Watch {
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let failed = attempt
            .failure
            .map(|it| Failed { phase: it.phase, code: sqlstate(&it.error).map(Cow::into_owned) });
        self.0.lock().expect("no panic").extend(failed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Own,
    Database,
    RetriesExhausted,
    Unknown,
    /// Before any statement was sent.
    Refused,
}

fn end_of(refusal: &Refusal) -> End {
    match refusal {
        Refusal::Database(_) => End::Database,
        Refusal::Funds | Refusal::Impossible(_) => End::Own,
        Refusal::Ended(ended) => {
            assert_eq!(ended.may_be_applied(), ended.kind() == Ending::Unknown);
            match ended.kind() {
                Ending::Failed => End::Database,
                Ending::RetriesExhausted => End::RetriesExhausted,
                Ending::Unknown => End::Unknown,
                Ending::Refused => End::Refused,
            }
        }
    }
}

struct Ended {
    world: World,
    runner: Runner,
    watch: Arc<Watch>,
    counter: Arc<Counter>,
    outcome: Result<Answer, Refusal>,
    took: Duration,
}

fn watched(world: &World, policy: Policy) -> (Runner, Arc<Watch>, Arc<Counter>) {
    let (watch, counter) = (Arc::<Watch>::default(), Arc::<Counter>::default());
    let runner = Runner::on(world.clone(), policy).observed_by(watch.clone()).observed_by(counter.clone());
    (runner, watch, counter)
}

impl Ended {
    fn sent(&self) -> Vec<String> {
        self.world.sent()
    }

    fn error(&self) -> &Refusal {
        self.outcome.as_ref().expect_err("it fails")
    }

    fn end(&self) -> End {
        end_of(self.error())
    }

    fn counts(&self) -> Counts {
        self.counter.counts()
    }

    fn attempts(&self) -> Vec<Failed> {
        self.watch.0.lock().expect("no panic").clone()
    }

    fn codes(&self) -> Vec<String> {
        self.attempts().into_iter().map(|it| it.code.unwrap_or_else(|| "none".to_owned())).collect()
    }

    fn rows(&self) -> usize {
        let world = self.world.lock();
        assert_eq!(world.store.violations, [""; 0]);
        world.store.rows.len() + world.store.marks.len()
    }
}

fn policy() -> Policy {
    Policy {
        attempts_max: 4,
        total_time: Duration::from_secs(30),
        answer_deadline: Duration::from_secs(2),
        pause_first: Duration::from_millis(4),
        pause_max: Duration::from_millis(100),
        ..Policy::default()
    }
}

fn savepoints(restarts: u32) -> Policy {
    Policy { savepoint_restarts: Some(restarts), ..policy() }
}

fn on_simulated_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// 10 from account 0 to account 1, with the id 7.
fn transfer(
    server: Server,
    policy: Policy,
    kind: Kind,
    fates: impl IntoIterator<Item = (&'static str, Fate)>,
) -> Ended {
    let order = Order { kind, id: 7, row: ROW };
    on_simulated_time(async {
        let world = World::told(server, fates);
        let (runner, watch, counter) = watched(&world, policy);
        let started = Instant::now();
        let outcome = run(&runner, order).await;
        let took = started.elapsed();
        tokio::time::sleep(Duration::from_secs(100)).await;
        Ended { world, runner, watch, counter, outcome, took }
    })
}

const INSERT_FIRST: [&str; 6] = ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "UPDATE credit", "COMMIT"];
