//! A transaction of one autocommitted statement.

use super::*;

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
