//! Random nested transactions against a model. The workspace's suites run them on servers.

use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionSession, TransactionTrait};
use sea_orm_retry::{Runner, Tx};

use super::{ids, insert};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Insert(i64),
    Begin,
    Commit,
    Rollback,
    Drop,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_i64).prop_map(Step::Insert),
        3 => Just(Step::Begin),
        2 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Drop),
    ];
    proptest::collection::vec(step, 1..24)
}

/// Each open nesting: its ids, and whether it failed.
struct Model(Vec<(BTreeSet<i64>, bool)>);

impl Model {
    fn innermost(&mut self) -> &mut (BTreeSet<i64>, bool) {
        self.0.last_mut().expect("never empty")
    }

    fn insert(&mut self, id: i64) -> bool {
        let taken = self.0.iter().any(|(ids, _)| ids.contains(&id));
        let (ids, failed) = self.innermost();
        if *failed || taken {
            *failed = true;
            return false;
        }
        ids.insert(id)
    }

    fn commit(&mut self) -> bool {
        let (ids, failed) = self.0.pop().expect("nested");
        if !failed {
            self.innermost().0.extend(ids);
        }
        !failed
    }
}

async fn play(tx: &Tx, steps: &[Step], model: &mut Model) -> Result<(), DbErr> {
    let mut open: Vec<Tx> = Vec::new();
    for step in steps {
        let depth = open.len();
        let here = open.last().unwrap_or(tx);
        match step {
            Step::Insert(id) => {
                assert_eq!(insert(here, *id).await.is_ok(), model.insert(*id), "{step:?} at {depth}")
            }
            Step::Begin => match here.begin().await {
                Ok(nested) => {
                    assert!(!model.innermost().1, "a failed one begins nothing");
                    open.push(nested);
                    model.0.push((BTreeSet::new(), false));
                }
                Err(_) => assert!(model.innermost().1, "BEGIN at {depth}"),
            },
            Step::Commit => {
                if let Some(nested) = open.pop() {
                    assert_eq!(nested.commit().await.is_ok(), model.commit(), "COMMIT at {depth}");
                }
            }
            Step::Rollback | Step::Drop => {
                if let Some(nested) = open.pop() {
                    model.0.pop();
                    match step {
                        Step::Drop => drop(nested),
                        _ => nested.rollback().await?,
                    }
                }
            }
        }
    }
    // Nestings that are still open are rolled back.
    model.0.truncate(1);
    Ok(())
}

/// Runs the steps on the empty table `log`, compares, and empties it.
pub(crate) async fn agrees_with_a_model(runner: &Runner, db: &DatabaseConnection, steps: &[Step]) {
    let model = Mutex::new(Model(vec![(BTreeSet::new(), false)]));
    let body = async |tx: &Tx| {
        let mut played = Model(vec![(BTreeSet::new(), false)]);
        play(tx, steps, &mut played).await?;
        *model.lock().expect("no panic") = played;
        Ok::<_, DbErr>(())
    };
    let applied = runner.run("nest", body).await.is_ok();
    let (expected, failed) = model.into_inner().expect("no panic").0.pop().expect("the outermost");
    assert_eq!(applied, !failed, "{steps:?}");
    let expected: Vec<i64> = if failed { Vec::new() } else { expected.into_iter().collect() };
    assert_eq!(ids(db).await, Ok(expected), "{steps:?}");
    db.execute_unprepared("DELETE FROM log").await.expect("no transaction is open");
}
