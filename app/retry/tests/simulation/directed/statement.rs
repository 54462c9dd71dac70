//! Transactions of one autocommitted statement.

use super::*;

#[test]
fn a_statement_is_one_round_trip_and_looked_up_if_its_answer_is_lost() {
    let ended = transfer(Postgres, policy(), Kind::Statement, []);
    assert_eq!((ended.sent(), ended.rows()), (vec!["acquire".to_owned(), "UPDATE whole".to_owned()], 1));
    let timed_out = Fate::Refused { code: "57014", applied: true };
    let ended = transfer(Cockroach, policy(), Kind::Statement, [("UPDATE whole", timed_out)]);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[2..], ["acquire", "UPDATE whole", "SELECT look"]);
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", refused("57014"))]);
    assert_eq!((ended.end(), ended.rows()), (End::Database, 0), "PostgreSQL has not");
    for fate in [Fate::CutAfter, Fate::NoAnswer] {
        let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", fate)]);
        assert!(ended.outcome.is_ok(), "{fate:?}");
        assert_eq!(ended.sent()[2..], ["acquire", "UPDATE whole", "SELECT look", "SELECT wait"], "{fate:?}");
        assert_eq!(ended.rows(), 1);
    }
    // A conflict applies nothing.
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", CONFLICT); 9]);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
    assert_eq!(ended.world.lock().store.backends.len(), 1);
    assert!(!ended.sent().contains(&"ROLLBACK".to_owned()));
    let ended = transfer(Postgres, policy(), Kind::Statement, [("UPDATE whole", refused("22003"))]);
    assert!(ended.end() == End::Database, "{:?}", ended.error());
    // The statement may be applied; the next attempt settles it.
    let fates = [("UPDATE whole", Fate::CutAfter), ("SELECT look", refused("42P01"))];
    let ended = transfer(Postgres, policy(), Kind::Statement, fates);
    assert!(ended.outcome.is_ok(), "{:?}", ended.outcome);
    assert_eq!(ended.counts().attempts, 3);
}

/// Refuses after its statement, and states what it found.
fn refusal_of_statement(asks: bool, says: Option<Proof>, fates: &[(&'static str, Fate)]) -> Refusal {
    on_simulated_time(async {
        let runner = Runner::on(World::told(Postgres, fates.iter().copied()), policy());
        runner
            .statement("refuse", async |tx: &Tx| {
                if asks {
                    ask(tx, Request::Look { id: 1 }).await?;
                }
                if let Some(says) = says {
                    says.state(tx);
                }
                Err::<Answer, _>(Refusal::Funds)
            })
            .await
            .map_or_else(|refusal| refusal, |_| unreachable!("it refuses"))
    })
}

fn statement_refused(asks: bool, says: Option<Proof>, fates: &[(&'static str, Fate)]) -> End {
    end_of(&refusal_of_statement(asks, says, fates))
}

#[test]
fn a_refusal_after_a_statement_fails_only_if_nothing_is_applied() {
    assert!(statement_refused(false, None, &[]) == End::Own);
    assert!(statement_refused(true, Some(Proof::NotApplied), &[]) == End::Own);
    assert!(statement_refused(true, None, &[]) == End::Unknown);
    let text = refusal_of_statement(true, None, &[]).to_string();
    assert!(text.ends_with("; its body said: too little money"), "{text}");
    assert!(statement_refused(true, Some(Proof::Applied), &[]) == End::Unknown);
    // A late statement holds no lock, so its missing id proves nothing.
    let late = [("SELECT look", Fate::CutBefore)];
    assert!(statement_refused(true, Some(Proof::NotApplied), &late) == End::Unknown);
}
