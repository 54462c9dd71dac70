//! Files and runs that are repeated.

use std::fs;
use std::time::Duration;

use database::Server;
use tests::{TestServer, scalar};
use uuid::Uuid;

use super::{HEADER, bank, counts, id, rejected, skip};
use crate::books::{balances, execute};
use crate::crash::assert_whole;
use crate::files::{Folder, accounts, count, import, pay};

pub(super) async fn a_file_without_ids_is_paid_once_by_its_run(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 100), (2, 0)]).await;
    let folder = Folder::new();
    // As a spreadsheet writes.
    let file = folder
        .write("t.csv", "Amount,target_id,Source_ID\r\n\"5\",2,1\r\n5, 2 ,1\r\n\r\n500,2,1\r\n5,2,1\r\n");
    let (rejects, run) = (folder.path("rejects.csv"), Uuid::new_v4().to_string());
    let run = [&["--chunk", "3", "--run", &run][..], &skip(&rejects)].concat();
    for found in [0, 3] {
        let (output, answer) = pay(&test, &file, &run);
        assert_eq!((output.status.code(), counts(&answer)), (Some(0), [3, 0, 1, 2]), "{answer}");
        assert_eq!(count(&answer, "found"), found, "{answer}");
        let rows = rejected(&rejects);
        assert_eq!((rows.len(), rows[0].0, rows[0].2.as_str()), (1, 5, "500,2,1"));
        assert_eq!(balances(&database).await, [(1, 85), (2, 15)]);
    }
    // Another run has other ids.
    fs::remove_file(&rejects).expect("the file exists");
    assert_eq!(counts(&pay(&test, &file, &skip(&rejects)).1)[..3], [3, 0, 1]);
    assert_eq!(balances(&database).await, [(1, 70), (2, 30)]);
    assert_whole(&test);
}

pub(super) async fn a_file_paid_again_is_already_applied(server: &TestServer) {
    let (test, database) = bank(server, &[(1, 1000), (2, 0)]).await;
    let folder = Folder::new();
    let row = |n: u128| format!("{},1,2,1\n", id(n));
    let rows = |ids: std::ops::Range<u128>| HEADER.to_owned() + &ids.map(row).collect::<String>();
    let file = folder.write("t.csv", rows(0..300));
    assert_eq!(counts(&pay(&test, &file, &["--chunk", "100"]).1), [300, 0, 0, 3]);
    execute(&database, "UPDATE accounts SET balance = 0 WHERE id = 1").await;
    let (output, answer) = pay(&test, &file, &["--chunk", "60"]);
    assert_eq!((output.status.code(), counts(&answer)), (Some(0), [0, 300, 0, 5]), "{answer}");
    execute(&database, "UPDATE accounts SET balance = 700 WHERE id = 1").await;
    let more = folder.write("more.csv", rows(250..350));
    let (_, answer) = pay(&test, &more, &[]);
    assert_eq!(counts(&answer), [50, 50, 0, 1], "{answer}");
    assert_eq!(balances(&database).await, [(1, 650), (2, 350)]);
    assert_whole(&test);
}

pub(super) async fn a_run_killed_repeatedly_gives_the_same_bank(server: &TestServer) {
    let lines: i64 = if server.server == Server::Cockroach { 4000 } else { 20_000 };
    let (folder, run) = (Folder::new(), Uuid::new_v4().to_string());
    let row = |n: i64| {
        let target = if n % 97 == 0 { 99 } else { (n * 7 + 3) % 20 + 1 };
        let amount = if n % 101 == 0 { 100_000 } else { n % 13 + 1 };
        format!("{},{},{target},{amount}\n", id(n as u128), n % 20 + 1)
    };
    let rows = (0..lines).map(row);
    let file = folder.write("t.csv", HEADER.to_owned() + &rows.collect::<String>());
    let opening = folder.write("accounts.csv", accounts(20));
    let (test, clean) = (server.database().await, server.database().await);
    for test in [&test, &clean] {
        assert_eq!(import(test, &opening, &[]).0.status.code(), Some(0));
    }
    let database = test.connect().await;
    let there = async || scalar(&database, "SELECT count(*) FROM batches WHERE rows > 0").await;
    let rejects = folder.path("rejects.csv");
    let file_name = file.to_str().expect("a path");
    // In order, so that refusals match an uninterrupted run.
    let flags = [&["--chunk", "20", "--concurrency", "1", "--run", &run][..], &skip(&rejects)].concat();
    for _ in 0..3 {
        let before = there().await;
        let mut paying = test.spawn("seabank", &[&["pay", file_name], &flags[..]].concat());
        while there().await < before + 5 && paying.try_wait().expect("the process is polled").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        paying.kill().expect("the process is killed");
        paying.wait().expect("the process ends");
        assert_whole(&test);
    }
    let (output, answer) = pay(&test, &file, &flags);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (found, applied) = (count(&answer, "found"), count(&answer, "applied"));
    assert!(0 < found && found < applied, "the kills interrupted the run: {answer}");
    let clean_rejects = folder.path("clean.csv");
    let (_, expected) =
        pay(&clean, &file, &[&["--chunk", "20", "--concurrency", "1"][..], &skip(&clean_rejects)].concat());
    assert_eq!(counts(&answer), counts(&expected));
    assert!(counts(&answer)[2] > 0, "some are refused: {answer}");
    assert_eq!(balances(&database).await, balances(&clean.connect().await).await);
    let lines = |path| rejected(path).into_iter().map(|(line, _, row)| (line, row)).collect::<Vec<_>>();
    assert_eq!(lines(&rejects), lines(&clean_rejects));
    assert_whole(&test);
}
