//! A lost answer to COMMIT: what is run again, what is ended first, and what is told in the end.

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
        assert!(ended.end() == End::Unknown, "{later:?}: {:?}", ended.error());
        assert_eq!((ended.rows(), ended.counts().unknown), (1, 1), "{later:?}");
        assert!(ended.attempts().len() > 1, "{later:?}: {:?}", ended.error());
        assert_eq!(ended.attempts()[0].phase, Phase::Commit);
    }
}

#[test]
fn what_an_earlier_attempt_applied_is_told_after_a_commit_that_is_acknowledged() {
    for fate in [Fate::CutBefore, Fate::NoAnswer, CONFLICT, refused("XX000")] {
        let fates = [("COMMIT", Fate::CutAfter), ("COMMIT", fate)];
        let ended = transfer(Postgres, policy(), Kind::InsertFirst, fates);
        assert!(ended.outcome.is_ok(), "{fate:?}: {:?}", ended.outcome);
        assert_eq!((ended.rows(), ended.counts().attempts), (1, 3));
        let never = fates.iter().copied().chain([("COMMIT", fate); 2]);
        let ended = transfer(Postgres, policy(), Kind::InsertFirst, never);
        assert_eq!(ended.end(), End::Unknown, "{fate:?}: it is there, and nobody has acknowledged it");
    }
}

/// Runs a body that moves money at first and refuses from the second attempt on, having said what it found out.
fn refuse_after_an_unknown(says: Option<Proof>) -> Ended {
    on_simulated_time(async {
        let world = World::told(Postgres, [("COMMIT", Fate::CutBefore)]);
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
fn a_refusal_after_an_unknown_is_failed_only_with_proof() {
    assert_eq!(refuse_after_an_unknown(Some(Proof::NotApplied)).end(), End::Own);
    for says in [None, Some(Proof::Applied)] {
        let ended = refuse_after_an_unknown(says);
        assert!(ended.end() == End::Unknown, "{:?}", ended.error());
    }
}
