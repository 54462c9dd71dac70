//! Ambiguous commits: what is retried, what is ended first, and what is reported.

use super::*;

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
        assert!(ended.end() == End::Unknown, "{fate:?}: {:?}", ended.error());
        assert_eq!(ended.attempts().len(), 1);
        assert_eq!((ended.rows(), ended.counts().attempts, ended.counts().unknown), (rows, 1, 1));
    }
}

#[test]
fn an_orphan_is_ended_before_the_next_attempt() {
    let ended = transfer(Postgres, policy(), Kind::InsertFirst, [("COMMIT", Fate::Silent)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["COMMIT", "end_orphan", "acquire"]);
    assert!(ended.took < Duration::from_secs(3), "the orphan's locks were not waited for: {:?}", ended.took);
    assert_eq!(ended.rows(), 1);
    let ended = transfer(Cockroach, policy(), Kind::InsertFirst, [("COMMIT", Fate::Silent)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["COMMIT", "acquire", "BEGIN over"]);
    assert!(ended.took < Duration::from_secs(3), "the orphan's locks were not waited for: {:?}", ended.took);
}

#[test]
fn ending_an_orphan_is_retried_before_the_next_attempt() {
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
        assert!(ended.end() == End::Unknown, "{later:?}: {:?}", ended.error());
        assert_eq!((ended.rows(), ended.counts().unknown), (1, 1), "{later:?}");
        assert!(ended.attempts().len() > 1, "{later:?}: {:?}", ended.error());
        assert_eq!(ended.attempts()[0].phase, Phase::Commit);
    }
}

#[test]
fn an_earlier_attempt_is_reported_applied_after_an_acknowledged_commit() {
    for fate in [Fate::CutBefore, Fate::NoAnswer, CONFLICT, refused("XX000")] {
        let fates = [("COMMIT", Fate::CutAfter), ("COMMIT", fate)];
        let ended = transfer(Postgres, policy(), Kind::InsertFirst, fates);
        assert!(ended.outcome.is_ok(), "{fate:?}: {:?}", ended.outcome);
        assert_eq!((ended.rows(), ended.counts().attempts), (1, 3));
        let never = fates.iter().copied().chain([("COMMIT", fate); 2]);
        let ended = transfer(Postgres, policy(), Kind::InsertFirst, never);
        assert_eq!(ended.end(), End::Unknown, "{fate:?}: found, but not acknowledged");
    }
}

/// Moves money in the first attempt, refuses in later ones, and states what it found.
fn refuse_after_an_unknown(says: Option<Proof>) -> Ended {
    refuse_on(World::told(Postgres, [("COMMIT", Fate::CutBefore)]), says)
}

fn refuse_on(world: World, says: Option<Proof>) -> Ended {
    on_simulated_time(async {
        let (runner, watch, counter) = watched(&world, policy());
        let attempt = AtomicU32::new(0);
        let outcome = runner
            .run_idempotent("refuse", async |tx: &Tx| {
                let number = attempt.fetch_add(1, Ordering::Relaxed);
                assert_eq!(tx.earlier_unknown(), number > 0);
                if number == 0 {
                    return Ok(ask(tx, Request::Look { id: 1 }).await?);
                }
                if let Some(says) = says {
                    says.state(tx);
                }
                Err(Refusal::Funds)
            })
            .await;
        Ended { world, runner, watch, counter, outcome, took: Duration::ZERO }
    })
}

#[test]
fn a_refusal_after_an_unknown_fails_only_with_proof() {
    assert_eq!(refuse_after_an_unknown(Some(Proof::NotApplied)).end(), End::Own);
    for says in [None, Some(Proof::Applied)] {
        let ended = refuse_after_an_unknown(says);
        assert!(ended.end() == End::Unknown, "{:?}", ended.error());
    }
}

/// Since v25.2 CockroachDB can buffer writes until COMMIT, and keeps locks in one node's memory.
/// Unless BEGIN can switch that off, neither a lock nor a rolled-back insert is proof.
#[test]
fn a_proof_of_no_commit_needs_locks_that_the_server_keeps() {
    let lost = ("COMMIT", Fate::CutBefore);
    let unknown_setting = ("BEGIN", refused("42704"));
    for (version, fates, end) in [
        ("CockroachDB CCL v24.3.0", vec![lost], End::Own),
        ("CockroachDB CCL v26.2.1", vec![lost], End::Own),
        ("CockroachDB CCL v26.2.1", vec![unknown_setting, lost], End::Unknown),
        ("CockroachDB CCL v25.1.0", vec![unknown_setting, lost], End::Own),
        ("CockroachDB", vec![lost], End::Unknown),
    ] {
        let world = World::told(Cockroach, fates.iter().copied());
        world.lock().version = Some(version);
        let ended = refuse_on(world, Some(Proof::NotApplied));
        assert_eq!(ended.end(), end, "{version} {fates:?}: {:?}", ended.error());
    }
}

#[test]
fn a_setting_unknown_to_the_server_is_sent_once() {
    on_simulated_time(async {
        let world = World::told(Cockroach, [("BEGIN", refused("42704"))]);
        world.lock().version = Some("CockroachDB CCL v26.2.1");
        let runner = Runner::on(world.clone(), policy());
        for id in [1, 2] {
            let told = run(&runner, Order { kind: Kind::InsertFirst, id, row: ROW }).await;
            assert!(told.is_ok(), "{told:?}");
        }
        let begun: Vec<bool> =
            world.lock().texts.iter().map(|sql| sql.contains("buffered_writes_enabled")).collect();
        assert_eq!(begun, [true, false, false]);
    });
    let ended = transfer(Postgres, policy(), Kind::Once, [("BEGIN", refused("42704"))]);
    assert_eq!((ended.end(), ended.codes()), (End::Database, vec!["42704".to_owned()]));
}

#[test]
fn a_throttled_cluster_is_retried_and_reported_with_advice() {
    let throttled = ("BEGIN", refused("XXC02"));
    let ended = transfer(Cockroach, policy(), Kind::Once, [throttled; 3]);
    assert!(ended.outcome.is_ok(), "{:?}", ended.outcome);
    let ended = transfer(Cockroach, policy(), Kind::Once, [throttled; 9]);
    assert_eq!(ended.end(), End::RetriesExhausted, "{:?}", ended.error());
    let text = ended.error().to_string();
    assert!(text.contains("no licence") && text.contains("SET CLUSTER SETTING"), "{text}");
}

/// Since v26.3 a statement that is prepared again after ROLLBACK TO may fail so.
#[test]
fn an_inner_error_after_rollback_to_fails_the_attempt_and_applies_nothing() {
    let fates = [("INSERT strict", refused("23505")), ("SELECT look", refused("XX000"))];
    let ended = transfer(Cockroach, policy(), Kind::InsertNested, fates);
    assert_eq!((ended.end(), ended.rows()), (End::Database, 0), "{:?}", ended.error());
    let sent = ended.sent();
    assert_eq!(sent[2..], ["nest", "INSERT strict", "undo", "SELECT look", "ROLLBACK"]);
}
