//! Bounds of attempts, time and pauses.

use proptest::prelude::*;

use super::*;

#[test]
fn attempts_are_bounded_and_all_are_reported() {
    let ended = transfer(Postgres, policy(), Kind::Once, [("INSERT mark", CONFLICT); 9]);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
    assert_eq!(ended.codes(), ["40001"; 4]);
    assert!(ended.attempts().iter().all(|attempt| attempt.phase == Phase::Body));
    let counts = ended.counts();
    assert_eq!((counts.attempts, counts.retries, ended.rows()), (4, 3, 0));
}

#[test]
fn the_time_of_a_run_is_bounded_and_beginning_does_not_outlast_it() {
    let policy = Policy { total_time: Duration::from_secs(3), attempts_max: 100, ..policy() };
    let ended = transfer(Postgres, policy, Kind::Once, [("acquire", Fate::Silent); 9]);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
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

/// Ending an orphan and taking a connection share the time that is left.
#[test]
fn all_waits_before_begin_end_with_the_time_of_the_run() {
    let policy = Policy { total_time: Duration::from_secs(3), ..policy() };
    let fates = [("INSERT mark", Fate::CutBefore), ("end_orphan", Fate::Silent), ("acquire", Fate::Silent)];
    let ended = transfer(Postgres, policy, Kind::Once, fates);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
    assert!(ended.took <= Duration::from_millis(3_001), "{:?}", ended.took);
}

#[test]
fn no_pause_ends_after_the_time_of_the_run() {
    let long = Duration::from_secs(600);
    let policy =
        Policy { pause_first: long, pause_max: long, total_time: Duration::from_secs(1), ..policy() };
    let ended = transfer(Postgres, policy, Kind::Once, [("INSERT mark", CONFLICT); 9]);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
    assert!(ended.took <= Duration::from_secs(1), "{:?}", ended.took);
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
            let (runner, _, counter) = watched(&world, long);
            let runner = runner.with_jitter_seed(seed);
            let _ = run(&runner, Order { kind: Kind::Once, id: 1, row: ROW }).await;
            assert_eq!(counter.counts().attempts, 60);
            counter.counts().paused
        })
    };
    assert_eq!(took(1), took(1));
    assert_ne!(took(1), took(2));
    // 59 pauses, half of them uniform up to one second.
    assert!((Duration::from_secs(8)..Duration::from_secs(25)).contains(&took(1)), "{:?}", took(1));
}

/// The run ends with the last attempt that began in time.
#[test]
fn attempts_and_time_bound_restarts_from_the_savepoint() {
    let ended = transfer(Cockroach, savepoints(100), Kind::Once, [("INSERT mark", CONFLICT); 9]);
    assert!(ended.end() == End::RetriesExhausted, "{:?}", ended.error());
    assert_eq!(ended.codes(), ["40001"; 4]);
    for restarts in [None, Some(1000)] {
        let policy = Policy {
            total_time: Duration::from_secs(1),
            attempts_max: 1000,
            pause_max: Duration::ZERO,
            savepoint_restarts: restarts,
            ..policy()
        };
        let (attempts, took) = on_simulated_time(async {
            let world = World::told(Cockroach, []);
            let (runner, _, counter) = watched(&world, policy);
            let started = Instant::now();
            let slow = async |tx: &Tx| {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Err::<(), _>(tx.again("on purpose"))
            };
            runner.run("slow", slow).await.expect_err("every attempt fails");
            (counter.counts().attempts, started.elapsed())
        });
        assert_eq!(attempts, 4, "{restarts:?}");
        assert!(took < Duration::from_millis(1300), "{took:?}");
    }
}

proptest! {
    #[test]
    fn a_run_ends_within_its_attempts_and_its_time(
        attempts_max in 1_u32..30,
        total_ms in 1_u64..3_000,
        first_ms in 0_u64..500,
        max_ms in 0_u64..2_000,
        seed: u64,
    ) {
        let policy = Policy {
            attempts_max,
            total_time: Duration::from_millis(total_ms),
            pause_first: Duration::from_millis(first_ms),
            pause_max: Duration::from_millis(max_ms),
            ..policy()
        };
        let (attempts, took) = on_simulated_time(async {
            let world = World::told(Postgres, [("INSERT mark", CONFLICT); 40]);
            let (runner, _, counter) = watched(&world, policy);
            let runner = runner.with_jitter_seed(seed);
            let started = Instant::now();
            let _ = run(&runner, Order { kind: Kind::Once, id: 1, row: ROW }).await;
            (counter.counts().attempts, started.elapsed())
        });
        prop_assert!(attempts <= u64::from(attempts_max));
        // Simulated time has whole milliseconds.
        prop_assert!(took <= Duration::from_millis(total_ms + 1), "{took:?}");
    }
}
