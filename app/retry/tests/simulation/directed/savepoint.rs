//! CockroachDB's savepoint protocol: the statements in order.

use super::*;

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
fn conflicts_restart_from_the_savepoint_and_then_from_the_start() {
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
    let counts = ended.counts();
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
        assert!(ended.end() == End::Unknown, "{:?}", ended.error());
        assert_eq!(ended.sent()[7..], [""; 0]);
    }
}

#[test]
fn after_the_release_it_is_applied_whatever_happens_to_commit() {
    for fate in [CONFLICT, Fate::CutBefore, Fate::NoAnswer, refused("XX000")] {
        let ended = transfer(Cockroach, savepoints(2), Kind::Once, [("COMMIT", fate)]);
        assert!(ended.outcome.is_ok(), "{fate:?}: {:?}", ended.outcome);
        assert_eq!((ended.rows(), ended.counts().attempts), (1, 1));
    }
}

#[test]
fn a_failed_rollback_to_restarts_the_transaction() {
    let fates = [("UPDATE debit", CONFLICT), ("ROLLBACK TO", refused("XX000"))];
    let ended = transfer(Cockroach, savepoints(2), Kind::Once, fates);
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.sent()[5..8], ["ROLLBACK TO", "acquire", "BEGIN over"]);
}

/// Even without `savepoint_restarts`, to keep its place.
#[test]
fn a_run_that_has_lost_often_restarts_from_a_savepoint() {
    let policy = || Policy { turn_after: 2, attempts_max: 9, ..policy() };
    let conflicts = |count| std::iter::repeat_n(("UPDATE debit", CONFLICT), count);
    let body = ["INSERT mark", "UPDATE debit"];
    let ended = transfer(Cockroach, policy(), Kind::Once, conflicts(3));
    assert!(ended.outcome.is_ok());
    let sent = ended.sent();
    for lost in 0..2 {
        assert_eq!(sent[lost * 5..lost * 5 + 5], [&["acquire", "BEGIN"][..], &body, &["ROLLBACK"]].concat());
    }
    assert_eq!(sent[10..13], ["acquire", "BEGIN", "SAVEPOINT"]);
    assert_eq!(sent[13..16], [&body[..], &["ROLLBACK TO"]].concat());
    assert_eq!(sent[16..], ["INSERT mark", "UPDATE debit", "UPDATE credit", "RELEASE", "COMMIT"]);
    assert_eq!((ended.rows(), ended.counts().attempts), (1, 4));

    // Restarts are bounded; then nothing is held during a pause.
    let ended = transfer(Cockroach, policy(), Kind::Once, conflicts(8));
    assert!(ended.outcome.is_ok());
    let count = |what: &str| ended.sent().iter().filter(|it| *it == what).count();
    assert_eq!((count("ROLLBACK TO"), count("ROLLBACK"), count("SAVEPOINT")), (5, 3, 2));

    for (server, conflict) in [(Postgres, CONFLICT), (Sqlite, refused("5"))] {
        let fates = std::iter::repeat_n(("UPDATE debit", conflict), 5);
        let ended = transfer(server, policy(), Kind::Once, fates);
        assert!(ended.outcome.is_ok() && !ended.sent().iter().any(|it| it == "SAVEPOINT"));
    }
}
