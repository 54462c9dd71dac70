//! Every small world on each simulated server: faults at up to three of the first requests of one
//! run, and at up to two of two runs with the same id.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm_retry::{Policy, Runner, Server};

use crate::client::{Kind, Order, check, reported, run};
use crate::fate::Fate;
use crate::request::Row;
use crate::wire::World;

const LATE: Fate = Fate::Late(Duration::from_millis(1500));

const CONFLICT: Fate = Fate::Refused { code: "40001", applied: false };
const LEAVING: Fate = Fate::Refused { code: "57P01", applied: false };

fn faults(server: Server) -> &'static [Fate] {
    match server {
        Server::Sqlite => &[Fate::Silent, Fate::NoAnswer, Fate::Refused { code: "5", applied: false }],
        Server::Postgres | Server::Cockroach => {
            &[Fate::CutBefore, Fate::CutAfter, LATE, Fate::Silent, CONFLICT, LEAVING]
        }
    }
}

const KINDS: [Kind; 7] = [
    Kind::InsertFirst,
    Kind::InsertPlainly,
    Kind::LockFirst,
    Kind::InsertNested,
    Kind::Statement,
    Kind::Once,
    Kind::Swallowing,
];

fn plans(from: usize, requests: usize, most: usize, faults: &[Fate]) -> Vec<Vec<(usize, Fate)>> {
    let mut all = vec![Vec::new()];
    if most == 0 {
        return all;
    }
    for at in from..requests {
        for fault in faults {
            for mut rest in plans(at + 1, requests, most - 1, faults) {
                rest.insert(0, (at, *fault));
                all.push(rest);
            }
        }
    }
    all
}

fn play(server: Server, kind: Kind, runs: u64, plan: &[(usize, Fate)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::told(server, []);
        world.lock().planned.extend(plan.iter().copied());
        let policy = Policy {
            attempts_max: 5,
            total_time: Duration::from_secs(20),
            answer_deadline: Duration::from_secs(1),
            pause_max: Duration::from_millis(10),
            ..Policy::default()
        };
        let runner = Runner::on(world.clone(), policy).with_jitter_seed(7);
        let order = |run| Order { kind, id: 7, row: Row { source: 0, target: 1, amount: 10, run } };
        let one = async |number: u64| {
            let told = reported(&world, order(number), run(&runner, order(number)).await);
            check(&world, order(number), told);
            (order(number), told)
        };
        let told = join_all((0..runs).map(one)).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        for (order, told) in told {
            check(&world, order, told);
        }
        let violations = &world.lock().store.violations;
        assert!(violations.is_empty(), "{server} {kind:?} {runs} {plan:?}: {violations:?}");
    });
}

#[test]
fn every_small_world_keeps_the_guarantees() {
    let mut worlds = Vec::new();
    for server in [Server::Sqlite, Server::Postgres, Server::Cockroach] {
        for kind in KINDS {
            worlds.extend(plans(0, 11, 3, faults(server)).into_iter().map(|plan| (server, kind, 1, plan)));
            worlds.extend(plans(0, 12, 2, faults(server)).into_iter().map(|plan| (server, kind, 2, plan)));
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((server, kind, runs, plan)) = worlds.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    play(*server, *kind, *runs, plan);
                }
            });
        }
    });
    println!("{} small worlds", worlds.len());
}
