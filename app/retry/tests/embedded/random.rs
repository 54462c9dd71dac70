//! Random nestings and random texts on SQLite.

use proptest::prelude::*;
use sea_orm_retry::{Policy, Runner};

use crate::nestings::{agrees_with_a_model, steps};
use crate::texts::{escapes_no_transaction, text};
use crate::{Log, open};

/// Fragments that only SQLite knows.
const OWN: [&str; 4] = [
    "CREATE TRIGGER t AFTER INSERT ON log BEGIN ",
    "CREATE TEMP TRIGGER t AFTER DELETE ON log BEGIN SELECT 1; END",
    "TRIGGER",
    "CREATE",
];

fn on_one_log(case: impl AsyncFn(&Log, &sea_orm::DatabaseConnection)) {
    thread_local! {
        static WORLD: (tokio::runtime::Runtime, Log, sea_orm::DatabaseConnection) = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let (log, other) = runtime.block_on(async {
                let log = Log::new(1).await;
                let other = open(&log.url, 1).await;
                (log, other)
            });
            (runtime, log, other)
        };
    }
    WORLD.with(|(runtime, log, other)| runtime.block_on(case(log, other)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn random_nestings_agree_with_a_model(steps in steps()) {
        on_one_log(async |log, _| agrees_with_a_model(&log.runner, &log.db, &steps).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn no_random_text_escapes_its_transaction(sql in text(&OWN)) {
        on_one_log(async |log, other| {
            let runner = Runner::new(&log.db, Policy { attempts_max: 1, ..Policy::default() });
            escapes_no_transaction(&runner, &log.db, other, "DROP TRIGGER IF EXISTS t; DELETE FROM log", &sql).await;
        });
    }
}
