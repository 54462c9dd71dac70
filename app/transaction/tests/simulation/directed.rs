//! Single faults, told in advance: what is sent, in which order, and what is told of it in the end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use database::Server;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::time::Instant;
use transaction::{Earlier, Error, Phase, Policy, Runner, Tx};

use crate::client::{Kind, Order, Refusal, ask, run};
use crate::fate::Fate;
use crate::server::{Answer, Request, Row};
use crate::wire::World;

use Server::{Cockroach, Postgres, Sqlite};

const ROW: Row = Row { source: 0, target: 1, amount: 10, run: 1 };
const CONFLICT: Fate = Fate::Refused { code: "40001", applied: false };

fn refused(code: &'static str) -> Fate {
    Fate::Refused { code, applied: false }
}

/// A world, what was told in the end, and how long it took.
struct Ended {
    world: World,
    runner: Runner,
    outcome: Result<Answer, Error<Refusal>>,
    took: Duration,
}

impl Ended {
    fn sent(&self) -> Vec<String> {
        self.world.sent()
    }

    fn error(&self) -> &Error<Refusal> {
        self.outcome.as_ref().expect_err("it fails")
    }

    fn codes(&self) -> Vec<String> {
        let code = |attempt: &transaction::Attempt| {
            database::sqlstate(&attempt.error).map_or_else(|| "none".to_owned(), |code| code.into_owned())
        };
        self.error().attempts().iter().map(code).collect()
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
        savepoint_restarts: None,
    }
}

fn savepoints(restarts: u32) -> Policy {
    Policy { savepoint_restarts: Some(restarts), ..policy() }
}

fn on_simulated_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// One transfer of 10 from account 0 to account 1 with the id 7.
fn transfer(
    server: Server,
    policy: Policy,
    kind: Kind,
    fates: impl IntoIterator<Item = (&'static str, Fate)>,
) -> Ended {
    let order = Order { kind, id: 7, row: ROW };
    on_simulated_time(async {
        let world = World::told(server, fates);
        let runner = Runner::new(world.clone(), policy);
        let started = Instant::now();
        let outcome = run(&runner, order).await;
        let took = started.elapsed();
        tokio::time::sleep(Duration::from_secs(100)).await;
        Ended { world, runner, outcome, took }
    })
}

const INSERT_FIRST: [&str; 6] = ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "UPDATE credit", "COMMIT"];

#[test]
fn a_transfer_without_trouble_is_begin_the_body_and_commit() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, []);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent(), INSERT_FIRST);
    assert_eq!((ended.rows(), ended.took), (1, Duration::ZERO));
    let counts = ended.runner.counts();
    assert_eq!((counts.transactions, counts.attempts, counts.retries, counts.unknown), (1, 1, 0, 0));
}

#[test]
fn a_conflict_rolls_back_pauses_and_tries_again() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, [("UPDATE debit", CONFLICT)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[..5], ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "ROLLBACK"]);
    assert_eq!(ended.sent()[5..], INSERT_FIRST);
    let counts = ended.runner.counts();
    assert_eq!((counts.transactions, counts.attempts, counts.retries), (1, 2, 1));
    assert_eq!(counts.retries_by_sqlstate["40001"], 1);
    // The clock of the simulation counts whole milliseconds.
    assert!(
        ended.took.abs_diff(counts.paused) <= Duration::from_millis(1),
        "{:?} {:?}",
        ended.took,
        counts.paused
    );
    // One connection served both: it was given back.
    assert_eq!(ended.world.lock().store.backends.len(), 1);
}

#[test]
fn attempts_are_bounded_and_all_of_them_told() {
    let ended = transfer(Postgres, policy(), Kind::Once, [("INSERT mark", CONFLICT); 9]);
    assert!(matches!(ended.error(), Error::RetriesExhausted { .. }), "{:?}", ended.error());
    assert_eq!(ended.codes(), ["40001"; 4]);
    assert!(ended.error().attempts().iter().all(|attempt| attempt.phase == Phase::Body));
    assert!(ended.error().body().is_none());
    let counts = ended.runner.counts();
    assert_eq!((counts.attempts, counts.retries, ended.rows()), (4, 3, 0));
}

#[test]
fn the_time_of_a_run_is_bounded_and_beginning_does_not_outlast_it() {
    let policy = Policy { total_time: Duration::from_secs(3), attempts_max: 100, ..policy() };
    let ended = transfer(Postgres, policy, Kind::Once, [("acquire", Fate::Silent); 9]);
    assert!(matches!(ended.error(), Error::RetriesExhausted { .. }), "{:?}", ended.error());
    assert_eq!(ended.codes(), ["none"; 2]);
    assert!(ended.took <= Duration::from_millis(3_001), "{:?}", ended.took);
    assert!(ended.took >= Duration::from_secs(2), "{:?}", ended.took);
    assert!(
        ended.error().to_string().contains("the server did not answer within 2000 ms"),
        "{}",
        ended.error()
    );
    assert!(ended.error().to_string().ends_with(" (2 attempts: no answer, no answer)"), "{}", ended.error());
}

#[test]
fn no_pause_ends_after_the_time_of_the_run() {
    let long = Duration::from_secs(600);
    let policy =
        Policy { pause_first: long, pause_max: long, total_time: Duration::from_secs(1), ..policy() };
    let ended = transfer(Postgres, policy, Kind::Once, [("INSERT mark", CONFLICT); 9]);
    assert!(matches!(ended.error(), Error::RetriesExhausted { .. }), "{:?}", ended.error());
    assert!(ended.took <= Duration::from_secs(1), "{:?}", ended.took);
}

#[test]
fn a_statement_without_an_answer_is_tried_again_on_a_new_connection() {
    for fate in [Fate::Silent, Fate::NoAnswer, Fate::CutBefore, Fate::CutAfter, refused("57P01")] {
        let ended = transfer(Cockroach, policy(), Kind::Once, [("UPDATE debit", fate)]);
        assert!(ended.outcome.is_ok(), "{fate:?}");
        assert_eq!(
            ended.sent(),
            [
                "acquire",
                "BEGIN",
                "INSERT mark",
                "UPDATE debit",
                "acquire",
                "BEGIN over",
                "INSERT mark",
                "UPDATE debit",
                "UPDATE credit",
                "COMMIT"
            ],
            "{fate:?}"
        );
        assert_eq!((ended.rows(), ended.world.lock().store.backends.len()), (1, 2), "{fate:?}");
        let waited = matches!(fate, Fate::Silent | Fate::NoAnswer);
        assert_eq!(ended.took >= Duration::from_secs(2), waited, "{fate:?}");
    }
}

#[test]
fn a_body_without_an_id_is_never_run_again_after_a_lost_commit() {
    for (fate, rows) in [
        (Fate::CutBefore, 0),
        (Fate::CutAfter, 1),
        (Fate::Late(Duration::from_secs(1)), 1),
        (Fate::NoAnswer, 1),
        (Fate::Refused { code: "40003", applied: true }, 1),
        (refused("XX000"), 0),
    ] {
        let ended = transfer(Postgres, policy(), Kind::Once, [("COMMIT", fate)]);
        assert!(matches!(ended.error(), Error::Unknown { .. }), "{fate:?}: {:?}", ended.error());
        assert_eq!(ended.error().attempts().len(), 1);
        assert_eq!(
            (ended.rows(), ended.runner.counts().attempts, ended.runner.counts().unknown),
            (rows, 1, 1)
        );
    }
}

#[test]
fn an_orphan_is_ended_before_the_next_attempt() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, [("COMMIT", Fate::Silent)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["COMMIT", "end_orphan", "acquire"]);
    assert!(ended.took < Duration::from_secs(3), "nobody waited for its locks: {:?}", ended.took);
    assert_eq!(ended.rows(), 1);
    // On CockroachDB by high priority.
    let ended = transfer(Cockroach, policy(), Kind::InsertFirst, [("COMMIT", Fate::Silent)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["COMMIT", "acquire", "BEGIN over"]);
    assert!(ended.took < Duration::from_secs(3), "nobody waited for its locks: {:?}", ended.took);
}

#[test]
fn an_orphan_that_cannot_be_ended_is_ended_before_the_attempt_after() {
    let fates = [("COMMIT", Fate::Silent), ("end_orphan", Fate::CutBefore), ("acquire", refused("53300"))];
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, fates);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..10], ["COMMIT", "end_orphan", "acquire", "end_orphan", "acquire"]);
    assert_eq!(ended.sent().iter().filter(|sent| *sent == "end_orphan").count(), 2);
}

#[test]
fn an_unknown_stays_unknown_whatever_comes_after_it() {
    let later: [&[(&str, Fate)]; 4] = [
        &[("INSERT id", CONFLICT); 3],
        &[("BEGIN over", refused("53300")); 3],
        &[("INSERT id", refused("42P01"))],
        &[("acquire", refused("28P01"))],
    ];
    for later in later {
        let fates = [("COMMIT", Fate::CutAfter)].into_iter().chain(later.iter().copied());
        let ended = transfer(Cockroach, policy(), Kind::InsertFirst, fates);
        assert!(matches!(ended.error(), Error::Unknown { .. }), "{later:?}: {:?}", ended.error());
        assert_eq!((ended.rows(), ended.runner.counts().unknown), (1, 1), "{later:?}");
        assert!(ended.error().attempts().len() > 1, "{later:?}: {:?}", ended.error());
        assert_eq!(ended.error().attempts()[0].phase, Phase::Commit);
    }
}

#[test]
fn what_an_earlier_attempt_applied_is_applied_whatever_becomes_of_the_look() {
    for fate in [Fate::CutBefore, Fate::NoAnswer, CONFLICT, refused("XX000")] {
        let fates = [("COMMIT", Fate::CutAfter), ("COMMIT", fate)];
        let ended = transfer(Postgres, policy(), Kind::InsertFirst, fates);
        assert!(ended.outcome.is_ok(), "{fate:?}: {:?}", ended.outcome);
        assert_eq!((ended.rows(), ended.runner.counts().attempts), (1, 2));
    }
}

/// Runs a body that moves money at first and refuses from the second attempt on, having said what it found out.
fn refuse_after_an_unknown(says: Option<Earlier>) -> Ended {
    on_simulated_time(async {
        let world = World::told(Postgres, [("COMMIT", Fate::CutBefore)]);
        let runner = Runner::new(world.clone(), policy());
        let attempt = AtomicU32::new(0);
        let outcome = runner
            .run_idempotent("refuse", async |tx: &Tx| {
                let number = attempt.fetch_add(1, Ordering::Relaxed);
                assert_eq!(tx.earlier_unknown(), number > 0);
                if number == 0 {
                    return Ok(ask(tx, Request::Look { id: 1 }).await?);
                }
                if let Some(says) = says {
                    tx.settle(says);
                }
                Err(Refusal::Funds)
            })
            .await;
        Ended { world, runner, outcome, took: Duration::ZERO }
    })
}

#[test]
fn a_refusal_after_an_unknown_is_failed_only_with_proof() {
    assert!(matches!(refuse_after_an_unknown(Some(Earlier::Dead)).error(), Error::Body(Refusal::Funds)));
    for says in [None, Some(Earlier::Applied)] {
        let ended = refuse_after_an_unknown(says);
        assert!(matches!(ended.error(), Error::Unknown { .. }), "{:?}", ended.error());
    }
}

#[test]
fn a_refusal_of_the_body_rolls_back_and_is_told_as_it_is() {
    let order = Order { kind: Kind::InsertFirst, id: 7, row: Row { amount: 1_000, ..ROW } };
    on_simulated_time(async {
        let world = World::told(Postgres, []);
        let told = run(&Runner::new(world.clone(), policy()), order).await;
        assert!(matches!(told, Err(Error::Body(Refusal::Funds))), "{told:?}");
        assert!(matches!(told.as_ref().map_err(Error::body), Err(Some(Refusal::Funds))));
        assert_eq!(world.sent(), ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "ROLLBACK"]);
        assert!(world.lock().store.rows.is_empty());
    });
}

#[test]
fn a_refusal_of_the_database_keeps_its_first_error_the_body_s_and_every_attempt() {
    let fates = [("INSERT mark", CONFLICT), ("UPDATE debit", refused("23514"))];
    let ended = transfer(Postgres, policy(), Kind::Once, fates);
    let Error::Database { error, body: Some(Refusal::Database(told)), attempts } = ended.error() else {
        panic!("{:?}", ended.error())
    };
    assert_eq!((error, database::sqlstate(error).as_deref()), (told, Some("23514")));
    assert_eq!(attempts.to_string(), " (2 attempts: 40001, 23514)");
    assert!(ended.error().body().is_some());
    assert_eq!(ended.sent().last().map(String::as_str), Some("ROLLBACK"));
    // Whatever the body makes of it.
    let ended = transfer(Postgres, policy(), Kind::Swallowing, [("UPDATE credit", refused("23514"))]);
    assert!(matches!(ended.error(), Error::Database { body: None, .. }), "{:?}", ended.error());
    assert_eq!(ended.codes(), ["23514"]);
}

#[test]
fn attempts_are_shown_up_to_ten() {
    let policy = Policy { attempts_max: 11, ..policy() };
    let ended = transfer(Postgres, policy, Kind::Once, [("INSERT mark", CONFLICT); 11]);
    let text = ended.error().to_string();
    assert!(text.contains(" (11 attempts: 40001, ") && text.ends_with("40001, …)"), "{text}");
    assert_eq!(text.matches("40001").count(), 11, "the first error, and ten codes: {text}");
    let ended = transfer(
        Postgres,
        Policy { attempts_max: 10, ..self::policy() },
        Kind::Once,
        [("INSERT mark", CONFLICT); 10],
    );
    assert!(ended.error().to_string().ends_with("40001)"), "{}", ended.error());
}

#[test]
fn a_failed_rollback_drops_the_connection_and_the_first_error_stands() {
    for fate in [refused("XX000"), Fate::CutBefore, Fate::Silent] {
        let fates = [("UPDATE debit", refused("23514")), ("ROLLBACK", fate)];
        let ended = transfer(Postgres, policy(), Kind::Once, fates);
        assert_eq!(ended.codes(), ["23514"], "{fate:?}");
        assert_eq!(ended.rows(), 0);
        let again = on_simulated_time(async {
            run(&ended.runner, Order { kind: Kind::Once, id: 8, row: ROW }).await
        });
        assert!(again.is_ok());
        assert_eq!(ended.world.lock().store.backends.len(), 2, "{fate:?}: it was not given back");
    }
}

#[test]
fn a_failed_commit_needs_no_rollback_where_it_has_ended_the_transaction() {
    for (server, rollback) in [(Postgres, false), (Cockroach, false), (Sqlite, true)] {
        for code in ["40001", "23503"] {
            let code = if server == Sqlite && code == "40001" { "5" } else { code };
            let ended = transfer(server, policy(), Kind::Once, [("COMMIT", refused(code))]);
            assert_eq!(ended.outcome.is_ok(), code != "23503", "{server} {code}");
            assert_eq!(ended.sent().contains(&"ROLLBACK".to_owned()), rollback, "{server} {code}");
            assert_eq!(ended.world.lock().store.backends.len(), 1, "{server} {code}: it was given back");
        }
    }
}

#[test]
fn an_error_after_the_commit_is_no_matter() {
    let ended = transfer(
        Cockroach,
        policy(),
        Kind::Once,
        [("COMMIT", Fate::Refused { code: "XXA00", applied: true })],
    );
    assert!(ended.outcome.is_ok());
    assert_eq!((ended.rows(), ended.runner.counts().attempts), (1, 1));
}

#[test]
fn a_stale_plan_is_tried_again_once_on_a_new_connection() {
    let once = transfer(Postgres, policy(), Kind::Once, [("UPDATE debit", refused("0A000"))]);
    assert!(once.outcome.is_ok());
    assert_eq!(once.world.lock().store.backends.len(), 2);
    let twice = transfer(Postgres, policy(), Kind::Once, [("UPDATE debit", refused("0A000")); 2]);
    assert!(matches!(twice.error(), Error::Database { .. }), "{:?}", twice.error());
    assert_eq!(twice.codes(), ["0A000"; 2]);
}

#[test]
fn an_id_that_is_taken_is_looked_up_before_it_is_a_failure() {
    for (kind, attempts) in [(Kind::InsertStrictly, 2), (Kind::Once, 1)] {
        let verb = if kind == Kind::Once { "INSERT mark" } else { "INSERT strict" };
        let ended = transfer(Postgres, policy(), kind, [(verb, refused("23505")); 3]);
        assert!(matches!(ended.error(), Error::Database { .. }), "{kind:?}: {:?}", ended.error());
        assert_eq!(ended.codes(), vec!["23505"; attempts], "{kind:?}");
    }
    let ended = transfer(Postgres, policy(), Kind::InsertStrictly, [("INSERT strict", refused("23505"))]);
    assert!(ended.outcome.is_ok());
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", refused("23505"))]);
    assert!(ended.outcome.is_ok());
}

const SAVEPOINT: [&str; 7] =
    ["acquire", "BEGIN", "SAVEPOINT", "INSERT mark", "UPDATE debit", "UPDATE credit", "RELEASE"];

#[test]
fn the_savepoint_protocol_is_begin_savepoint_statements_release_commit() {
    let ended = transfer(Cockroach, savepoints(2), Kind::Once, []);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[..7], SAVEPOINT);
    assert_eq!(ended.sent()[7..], ["COMMIT"]);
    // A reader has nothing to commit.
    let ended = transfer(Cockroach, savepoints(2), Kind::Read, []);
    assert_eq!(ended.sent(), ["acquire", "BEGIN snapshot", "SELECT sum", "SELECT sum", "COMMIT"]);
}

#[test]
fn a_conflict_restarts_from_the_savepoint_so_often_and_then_from_the_start() {
    let fates = [("UPDATE debit", CONFLICT), ("RELEASE", CONFLICT), ("UPDATE debit", CONFLICT)];
    let ended = transfer(Cockroach, savepoints(2), Kind::Once, fates);
    assert!(ended.outcome.is_ok());
    let body = ["INSERT mark", "UPDATE debit", "UPDATE credit"];
    let sent = ended.sent();
    assert_eq!(sent[3..6], ["INSERT mark", "UPDATE debit", "ROLLBACK TO"]);
    assert_eq!(sent[6..9], body);
    assert_eq!(sent[9..11], ["RELEASE", "ROLLBACK TO"]);
    assert_eq!(sent[11..14], ["INSERT mark", "UPDATE debit", "ROLLBACK"]);
    assert_eq!(sent[14..21], SAVEPOINT);
    assert_eq!(sent[21..], ["COMMIT"]);
    let counts = ended.runner.counts();
    assert_eq!((counts.transactions, counts.attempts, counts.retries, ended.rows()), (1, 4, 3, 1));
    assert_eq!(counts.retries_by_sqlstate["40001"], 3);
}

#[test]
fn after_a_failed_release_no_commit_is_sent() {
    let ended = transfer(Cockroach, savepoints(2), Kind::Once, [("RELEASE", refused("23503"))]);
    assert_eq!(ended.codes(), ["23503"]);
    assert_eq!(ended.sent()[7..], ["ROLLBACK"]);
    let ended = transfer(Cockroach, savepoints(0), Kind::Once, [("RELEASE", CONFLICT)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[7..10], ["ROLLBACK", "acquire", "BEGIN"]);
    for fate in [Fate::CutBefore, Fate::CutAfter] {
        let ended = transfer(Cockroach, savepoints(2), Kind::Once, [("RELEASE", fate)]);
        assert!(matches!(ended.error(), Error::Unknown { .. }), "{:?}", ended.error());
        assert_eq!(ended.sent()[7..], [""; 0]);
    }
}

#[test]
fn after_the_release_it_is_applied_whatever_becomes_of_commit() {
    for fate in [CONFLICT, Fate::CutBefore, Fate::NoAnswer, refused("XX000")] {
        let ended = transfer(Cockroach, savepoints(2), Kind::Once, [("COMMIT", fate)]);
        assert!(ended.outcome.is_ok(), "{fate:?}: {:?}", ended.outcome);
        assert_eq!((ended.rows(), ended.runner.counts().attempts), (1, 1));
    }
}

#[test]
fn a_failed_rollback_to_restarts_all_of_it() {
    let fates = [("UPDATE debit", CONFLICT), ("ROLLBACK TO", refused("XX000"))];
    let ended = transfer(Cockroach, savepoints(2), Kind::Once, fates);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["ROLLBACK TO", "acquire", "BEGIN over"]);
}

#[test]
fn a_statement_is_one_round_trip_and_found_again_where_its_answer_is_lost() {
    let ended = transfer(Postgres, policy(), Kind::Statement, []);
    assert_eq!((ended.sent(), ended.rows()), (vec!["acquire".to_owned(), "UPDATE whole".to_owned()], 1));
    for fate in [Fate::CutAfter, Fate::NoAnswer, Fate::Refused { code: "57014", applied: true }] {
        let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", fate)]);
        assert!(ended.outcome.is_ok(), "{fate:?}");
        assert_eq!(ended.sent()[2..], ["acquire", "UPDATE whole", "SELECT look"], "{fate:?}");
        assert_eq!(ended.rows(), 1);
    }
    // A conflict has applied nothing, and the connection is as good as before.
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", CONFLICT); 9]);
    assert!(matches!(ended.error(), Error::RetriesExhausted { .. }), "{:?}", ended.error());
    assert_eq!(ended.world.lock().store.backends.len(), 1);
    assert!(!ended.sent().contains(&"ROLLBACK".to_owned()));
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", refused("22003"))]);
    assert!(matches!(ended.error(), Error::Database { .. }), "{:?}", ended.error());
    // The look failed, and the statement before it may be applied: it is told by the next.
    let fates = [("UPDATE whole", Fate::CutAfter), ("SELECT look", refused("42P01"))];
    let ended = transfer(Postgres, policy(), Kind::Statement, fates);
    assert!(ended.outcome.is_ok(), "{:?}", ended.outcome);
    assert_eq!(ended.runner.counts().attempts, 3);
}

/// A body of one statement that refuses after it, having said what it found out.
fn statement_refused(asks: bool, says: Option<Earlier>, fates: &[(&'static str, Fate)]) -> Error<Refusal> {
    on_simulated_time(async {
        let runner = Runner::new(World::told(Postgres, fates.iter().copied()), policy());
        runner
            .statement("refuse", async |tx: &Tx| {
                if asks {
                    ask(tx, Request::Look { id: 1 }).await?;
                }
                if let Some(says) = says {
                    tx.settle(says);
                }
                Err::<Answer, _>(Refusal::Funds)
            })
            .await
            .expect_err("it refuses")
    })
}

#[test]
fn a_refusal_after_a_statement_is_failed_only_where_nothing_is_applied() {
    assert!(matches!(statement_refused(false, None, &[]), Error::Body(Refusal::Funds)));
    assert!(matches!(statement_refused(true, Some(Earlier::Dead), &[]), Error::Body(Refusal::Funds)));
    assert!(matches!(statement_refused(true, None, &[]), Error::Unknown { .. }));
    assert!(matches!(statement_refused(true, Some(Earlier::Applied), &[]), Error::Unknown { .. }));
    // A statement that is late on its way holds no lock: that it is not there yet proves nothing.
    let late = [("SELECT look", Fate::CutBefore)];
    assert!(matches!(statement_refused(true, Some(Earlier::Dead), &late), Error::Unknown { .. }));
}

#[test]
fn readers_never_know_an_unknown() {
    let ended = transfer(Postgres, policy(), Kind::Read, [("COMMIT", Fate::CutBefore)]);
    assert_eq!(ended.outcome.as_ref().map(|answer| answer.value).ok(), Some(300));
    let ended = transfer(Postgres, policy(), Kind::Query, [("SELECT sum", Fate::CutBefore)]);
    assert_eq!(ended.outcome.as_ref().map(|answer| answer.value).ok(), Some(300));
    assert_eq!(ended.sent(), ["acquire", "SELECT sum", "acquire", "SELECT sum"]);
    let ended = transfer(Postgres, policy(), Kind::Query, [("SELECT sum", refused("42P01"))]);
    assert!(matches!(ended.error(), Error::Database { .. }), "{:?}", ended.error());
    assert!(!ended.sent().contains(&"ROLLBACK".to_owned()), "there is nothing to roll back");
}

#[test]
fn a_run_in_a_run_and_savepoints_elsewhere_are_refused_before_anything_is_sent() {
    on_simulated_time(async {
        let world = World::told(Postgres, []);
        let runner = Runner::new(world.clone(), policy());
        let inner = runner
            .run("outer", async |_: &Tx| run(&runner, Order { kind: Kind::Once, id: 1, row: ROW }).await);
        let told = inner.await.expect_err("a second transaction");
        assert!(matches!(told, Error::Body(Error::Nested)), "{told:?}");
        assert!(matches!(told.body(), Some(Error::Nested)) && told.attempts().is_empty());
        assert_eq!(world.sent(), ["acquire", "BEGIN", "ROLLBACK"]);
    });
    for server in [Postgres, Sqlite] {
        let ended = transfer(server, savepoints(1), Kind::Once, []);
        assert!(matches!(ended.error(), Error::SavepointUnsupported), "{:?}", ended.error());
        assert!(ended.error().body().is_none() && ended.sent().is_empty());
    }
}

#[test]
fn a_tx_sends_nothing_after_its_first_error_and_repeats_it() {
    for (server, backend) in
        [(Postgres, DbBackend::Postgres), (Cockroach, DbBackend::Postgres), (Sqlite, DbBackend::Sqlite)]
    {
        on_simulated_time(async {
            let world = World::told(server, []);
            let runner = Runner::new(world.clone(), policy());
            assert_eq!(runner.server(), server);
            let told = runner
                .run("refused", async |tx: &Tx| {
                    assert_eq!((tx.server(), tx.get_database_backend()), (server, backend));
                    let first = tx.execute_unprepared("COMMIT").await.expect_err("it belongs to the runner");
                    let sum = || Statement::from_string(backend, "SELECT sum");
                    assert_eq!(tx.execute_unprepared("SELECT 1").await.map(drop), Err(first.clone()));
                    assert_eq!(tx.execute_raw(sum()).await.map(drop), Err(first.clone()));
                    assert_eq!(tx.query_one_raw(sum()).await.map(drop), Err(first.clone()));
                    assert_eq!(tx.query_all_raw(sum()).await.map(drop), Err(first.clone()));
                    Err::<(), _>(first)
                })
                .await;
            let told = told.expect_err("refused").to_string();
            assert!(
                told.contains("refused inside a transaction: COMMIT belongs to the runner: COMMIT"),
                "{told}"
            );
            assert_eq!(world.sent(), ["acquire", "BEGIN", "ROLLBACK"]);
        });
    }
}

#[test]
fn pauses_grow_from_retry_to_retry_and_a_seed_repeats_them() {
    let took = |seed| {
        on_simulated_time(async {
            let world = World::told(Postgres, [("INSERT mark", CONFLICT); 60]);
            let long = Policy {
                attempts_max: 60,
                pause_first: Duration::from_millis(10),
                pause_max: Duration::from_secs(1),
                total_time: Duration::from_secs(600),
                ..policy()
            };
            let runner = Runner::new(world, long).with_jitter_seed(seed);
            let _ = run(&runner, Order { kind: Kind::Once, id: 1, row: ROW }).await;
            assert_eq!(runner.counts().attempts, 60);
            runner.counts().paused
        })
    };
    assert_eq!(took(1), took(1));
    assert_ne!(took(1), took(2));
    // 59 pauses, nearly all of them uniform up to a second.
    assert!((Duration::from_secs(15)..Duration::from_secs(45)).contains(&took(1)), "{:?}", took(1));
}
