//! Requests of an attempt and of the next, and the effect of errors.

use super::*;

#[test]
fn a_transfer_sends_begin_the_body_and_commit() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, []);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent(), INSERT_FIRST);
    assert_eq!((ended.rows(), ended.took), (1, Duration::ZERO));
    let counts = ended.counts();
    assert_eq!((counts.transactions, counts.attempts, counts.retries, counts.unknown), (1, 1, 0, 0));
}

#[test]
fn a_conflict_rolls_back_pauses_and_retries() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, [("UPDATE debit", CONFLICT)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[..5], ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "ROLLBACK"]);
    assert_eq!(ended.sent()[5..], INSERT_FIRST);
    let counts = ended.counts();
    assert_eq!((counts.transactions, counts.attempts, counts.retries), (1, 2, 1));
    assert_eq!(counts.retries_by_sqlstate["40001"], 1);
    // Simulated time has whole milliseconds.
    assert!(
        ended.took.abs_diff(counts.paused) <= Duration::from_millis(1),
        "{:?} {:?}",
        ended.took,
        counts.paused
    );
    // One connection served both, so it was returned.
    assert_eq!(ended.world.lock().store.backends.len(), 1);
}

#[test]
fn an_unanswered_statement_is_retried_on_a_new_connection() {
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
fn a_refusal_of_the_body_rolls_back_and_is_returned_unchanged() {
    let order = Order { kind: Kind::InsertFirst, id: 7, row: Row { amount: 1_000, ..ROW } };
    on_simulated_time(async {
        let world = World::told(Postgres, []);
        let told = run(&Runner::on(world.clone(), policy()), order).await;
        assert!(matches!(told, Err(Refusal::Funds)), "{told:?}");
        assert_eq!(world.sent(), ["acquire", "BEGIN", "INSERT id", "UPDATE debit", "ROLLBACK"]);
        assert!(world.lock().store.rows.is_empty());
    });
}

#[test]
fn an_error_of_the_database_keeps_the_bodys_and_every_attempt() {
    let fates = [("INSERT mark", CONFLICT), ("UPDATE debit", refused("23514"))];
    let ended = transfer(Postgres, policy(), Kind::Once, fates);
    let Refusal::Database(told) = ended.error() else { panic!("{:?}", ended.error()) };
    assert_eq!(sea_orm_retry::sqlstate(told).as_deref(), Some("23514"));
    assert_eq!(ended.codes(), ["40001", "23514"]);
    assert_eq!(ended.sent().last().map(String::as_str), Some("ROLLBACK"));
    let ended = transfer(Postgres, policy(), Kind::Swallowing, [("UPDATE credit", refused("23514"))]);
    let Refusal::Ended(told) = ended.error() else { panic!("{:?}", ended.error()) };
    assert_eq!((told.kind(), told.body_error()), (Ending::Failed, None), "{told}");
    assert_eq!(sea_orm_retry::sqlstate(told.first()).as_deref(), Some("23514"));
    assert_eq!(ended.codes(), ["23514"]);
}

#[test]
fn at_most_ten_attempts_are_shown() {
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
fn a_read_only_server_is_left_for_another_connection() {
    for policy in [policy(), Policy { read_only: true, ..policy() }] {
        let read_only = policy.read_only;
        let ended = transfer(Postgres, policy, Kind::Once, [("INSERT mark", refused("25006"))]);
        let (attempts, connections) = if read_only { (1, 1) } else { (2, 2) };
        assert_eq!(ended.codes(), ["25006"]);
        assert_eq!(ended.counts().attempts, attempts, "the transaction was begun read-only: {read_only}");
        assert_eq!(ended.world.lock().store.backends.len(), connections);
        assert_eq!(ended.outcome.is_ok(), !read_only);
    }
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
        assert_eq!(ended.world.lock().store.backends.len(), 2, "{fate:?}: the connection was not returned");
    }
}

#[test]
fn a_commit_that_failed_and_ended_the_transaction_needs_no_rollback() {
    for (server, rollback) in [(Postgres, false), (Cockroach, false), (Sqlite, true)] {
        for code in ["40001", "23503"] {
            let code = if server == Sqlite && code == "40001" { "5" } else { code };
            let ended = transfer(server, policy(), Kind::Once, [("COMMIT", refused(code))]);
            assert_eq!(ended.outcome.is_ok(), code != "23503", "{server} {code}");
            assert_eq!(ended.sent().contains(&"ROLLBACK".to_owned()), rollback, "{server} {code}");
            assert_eq!(
                ended.world.lock().store.backends.len(),
                1,
                "{server} {code}: the connection was returned"
            );
        }
    }
}

#[test]
fn an_error_after_the_commit_is_ignored() {
    let ended = transfer(
        Cockroach,
        policy(),
        Kind::Once,
        [("COMMIT", Fate::Refused { code: "XXA00", applied: true })],
    );
    assert!(ended.outcome.is_ok());
    assert_eq!((ended.rows(), ended.counts().attempts), (1, 1));
}

#[test]
fn a_stale_plan_is_retried_once_on_the_same_connection_without_its_plans() {
    let once = transfer(Postgres, policy(), Kind::Once, [("UPDATE debit", refused("0A000"))]);
    assert!(once.outcome.is_ok());
    assert_eq!(once.sent()[3..6], ["UPDATE debit", "ROLLBACK", "BEGIN"], "no pause, no other connection");
    assert_eq!((once.world.lock().store.backends.len(), once.took), (1, Duration::ZERO));
    let twice = transfer(Postgres, policy(), Kind::Once, [("UPDATE debit", refused("0A000")); 2]);
    assert_eq!(twice.end(), End::Database, "{:?}", twice.error());
    assert_eq!(twice.codes(), ["0A000"; 2]);
}

#[test]
fn a_statement_mixed_up_by_a_pooler_ends_with_what_to_set() {
    for code in ["26000", "42P05"] {
        let mixed_up = [("UPDATE debit", refused(code)); 2];
        let ended = transfer(Postgres, policy(), Kind::Once, mixed_up);
        let Refusal::Ended(error) = ended.error() else { panic!("{:?}", ended.outcome) };
        assert!(
            !error.may_be_applied() && error.to_string().contains("Policy::unnamed_statements"),
            "{error}"
        );

        let unnamed = Policy { unnamed_statements: true, ..policy() };
        let ended = transfer(Postgres, unnamed, Kind::Once, mixed_up);
        assert!(matches!(ended.error(), Refusal::Database(_)), "the body's own error: {:?}", ended.outcome);
    }
}

#[test]
fn a_taken_id_is_looked_up_before_it_is_a_failure() {
    for (kind, attempts) in [(Kind::InsertStrictly, 2), (Kind::Once, 1)] {
        let verb = if kind == Kind::Once { "INSERT mark" } else { "INSERT strict" };
        let ended = transfer(Postgres, policy(), kind, [(verb, refused("23505")); 3]);
        assert!(ended.end() == End::Database, "{kind:?}: {:?}", ended.error());
        assert_eq!(ended.codes(), vec!["23505"; attempts], "{kind:?}");
    }
    let ended = transfer(Postgres, policy(), Kind::InsertStrictly, [("INSERT strict", refused("23505"))]);
    assert!(ended.outcome.is_ok());
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", refused("23505"))]);
    assert!(ended.outcome.is_ok());
}

#[test]
fn a_read_is_never_unknown() {
    let ended = transfer(Postgres, policy(), Kind::Read, [("COMMIT", Fate::CutBefore)]);
    assert_eq!(ended.outcome.as_ref().map(|answer| answer.value).ok(), Some(300));
    let ended = transfer(Postgres, policy(), Kind::Query, [("SELECT sum", Fate::CutBefore)]);
    assert_eq!(ended.outcome.as_ref().map(|answer| answer.value).ok(), Some(300));
    assert_eq!(ended.sent(), ["acquire", "SELECT sum", "acquire", "SELECT sum"]);
    let ended = transfer(Postgres, policy(), Kind::Query, [("SELECT sum", refused("42P01"))]);
    assert!(ended.end() == End::Database, "{:?}", ended.error());
    assert!(!ended.sent().contains(&"ROLLBACK".to_owned()), "there is nothing to roll back");
}

#[test]
fn a_run_in_a_run_and_savepoints_elsewhere_are_refused_before_anything_is_sent() {
    on_simulated_time(async {
        let world = World::told(Postgres, []);
        let runner = Runner::on(world.clone(), policy());
        let inner = runner
            .run("outer", async |_: &Tx| run(&runner, Order { kind: Kind::Once, id: 1, row: ROW }).await);
        let told = inner.await.expect_err("a second transaction");
        let Refusal::Ended(nested) = &told else { panic!("{told:?}") };
        assert_eq!((nested.kind(), nested.name(), nested.attempts().len()), (Ending::Refused, "once", 0));
        assert_eq!(world.sent(), ["acquire", "BEGIN", "ROLLBACK"]);
    });
    for server in [Postgres, Sqlite] {
        let ended = transfer(server, savepoints(1), Kind::Once, []);
        assert_eq!(ended.end(), End::Refused, "{:?}", ended.error());
        assert!(ended.sent().is_empty());
    }
}

#[test]
fn a_tx_sends_nothing_after_its_first_error_and_repeats_it() {
    for (server, backend) in
        [(Postgres, DbBackend::Postgres), (Cockroach, DbBackend::Postgres), (Sqlite, DbBackend::Sqlite)]
    {
        on_simulated_time(async {
            let world = World::told(server, []);
            let runner = Runner::on(world.clone(), policy());
            assert_eq!(runner.server(), Some(server));
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
