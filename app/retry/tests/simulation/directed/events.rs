//! The log events of a transaction.

use super::*;
use crate::lines::Lines;

/// In its own process: without a subscriber in another test, tracing would disable the events.
#[test]
fn attempts_are_events_in_the_span_of_their_transaction_and_lost_connections_warnings() {
    let alone = std::process::Command::new(std::env::current_exe().expect("the run knows its own program"))
        .args(["--exact", "directed::events::listened_to", "--ignored"])
        .output()
        .expect("it can be started again");
    let told = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn listened_to() {
    let log = Lines::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let fates = [("INSERT id", CONFLICT), ("COMMIT", Fate::CutAfter)];
    assert!(transfer(Postgres, policy(), Kind::InsertFirst, fates).outcome.is_ok());
    assert!(transfer(Postgres, policy(), Kind::Once, [("INSERT mark", refused("23514"))]).outcome.is_err());
    let text = log.take();
    let lines = |part: &str| text.lines().filter(|line| line.contains(part)).collect::<Vec<_>>();
    let outcomes = ["Retry", "Unknown", "Committed", "Fail"];
    let ended = lines("attempt ended");
    assert_eq!(ended.len(), outcomes.len(), "{text}");
    for (line, outcome) in ended.iter().zip(outcomes) {
        assert!(line.contains(&format!("outcome={outcome}")), "{line}");
        assert!(line.contains("transaction{name="), "{line}");
    }
    let retries = lines("retrying");
    assert_eq!(retries.len(), 2, "{text}");
    assert!(retries[0].contains(" DEBUG ") && retries[0].contains("sqlstate=\"40001\""), "{}", retries[0]);
    assert!(retries[1].contains(" WARN ") && retries[1].contains("phase=Commit"), "{}", retries[1]);
    assert_eq!(lines(" WARN ").len(), 1, "an ordinary conflict is none: {text}");

    let patient = Policy { warn_after: 2, ..policy() };
    assert!(transfer(Postgres, patient, Kind::Once, [("INSERT mark", CONFLICT); 3]).outcome.is_ok());
    let text = log.take();
    let levels: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("retrying"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(levels, ["DEBUG", "WARN", "WARN"], "{text}");
}
