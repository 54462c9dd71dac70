//! Rejected rows: line, reason, and which other rows are imported.

mod formats;

use std::fs::{self, File};
use std::io::Write;

use database::Server;
use tests::{Test, TestServer, scalar, tests};
use uuid::Uuid;

use crate::books::{everything, insert_account};
use crate::files::{Folder, accounts, count, import};

use formats::{
    a_file_of_another_format_is_refused_with_its_format, a_truncated_file_is_not_read_as_smaller_amounts,
    files_of_other_programs_are_read,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_bad_row_stops_before_its_chunk,
        bad_rows_are_skipped_and_written_out,
        repeated_rows_are_found_across_chunks,
        an_account_with_another_opening_balance_is_a_conflict,
        a_transfer_of_an_unknown_account_is_rejected,
        invalid_files_are_refused,
        a_huge_line_is_rejected,
        a_truncated_file_is_not_read_as_smaller_amounts,
        a_file_of_another_format_is_refused_with_its_format on &[Server::Sqlite],
        files_of_other_programs_are_read,
        a_rejected_row_is_kept_verbatim on &[Server::Sqlite],
    ]
}

/// Bad lines, and a part of the reason.
const BAD: [(&[u8], &str); 14] = [
    (b"7", "number of fields is 1"),
    (b"7,1,2", "number of fields is 3"),
    (b"seven,1", "the id `seven` is not a whole number"),
    (b"7,1.5", "the balance `1.5` is not a whole number"),
    (b"7,", "the balance `` is not a whole number"),
    (b"7,-1", "the balance -1 is negative"),
    (b"7,9223372036854775808", "is above 9223372036854775807"),
    (b"9223372036854775808,7", "is above 9223372036854775807"),
    (b"3,30", "account 3 repeats line 4"),
    (b"7,\xff", "not UTF-8"),
    (b"\"7,1", "a quote is not closed, and the number of fields is 1"),
    (b"7,\"1", "a quote is not closed"),
    (b"\"7\",\"1\"\"", "a quote is not closed"),
    (b"7,1\r8,2", "number of fields is 3"),
];

async fn a_bad_row_stops_before_its_chunk(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    for (n, (line, words)) in BAD.into_iter().enumerate() {
        let text = [accounts(3).as_bytes(), line, b"\n5,50\n"].concat();
        let file = folder.write(&format!("{n}.csv"), text);
        let (output, answer) = import(&test, &file, &[]);
        let error = answer["error"].as_str().expect("a line");
        assert_eq!((output.status.code(), count(&answer, "rows")), (Some(1), 0), "{answer}");
        assert!(error.contains("line 5: ") && error.contains(words) && error.contains("--run"), "{error}");
        assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, 0);
    }
    // Whole chunks stay. The corrected file completes the run.
    let text = accounts(25) + "26,x\n" + "27,270\n";
    let file = folder.write("late.csv", &text);
    let (_, answer) = import(&test, &file, &["--chunk", "10", "--concurrency", "1"]);
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (20, 1));
    folder.write("late.csv", text.replace("26,x", "26,260"));
    let run = answer["run"].as_str().expect("an id");
    let (output, answer) = import(&test, &file, &["--chunk", "10", "--run", run]);
    assert_eq!((output.status.code(), count(&answer, "rows"), count(&answer, "found")), (Some(0), 7, 20));
    assert_eq!(scalar(&database, "SELECT count(*) FROM accounts").await, 27);
}

async fn bad_rows_are_skipped_and_written_out(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let mut text = accounts(3).into_bytes();
    for (line, _) in BAD {
        text.extend([line, b"\n"].concat());
    }
    text.extend(b"\r\n 4 ,\"40\"\r\n");
    let (file, rejects) = (folder.write("accounts.csv", text), folder.path("rejects.csv"));
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (output, answer) = import(&test, &file, &skip);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (4, BAD.len() as u64));
    let balances = crate::books::balances(&test.connect().await).await;
    assert_eq!(balances, [(1, 10), (2, 20), (3, 30), (4, 40)]);

    let mut rows = csv::Reader::from_path(&rejects).expect("the file exists");
    let rows: Vec<_> = rows.byte_records().map(|row| row.expect("valid CSV")).collect();
    assert_eq!(rows.len(), BAD.len());
    for (n, (row, (line, words))) in rows.iter().zip(BAD).enumerate() {
        assert_eq!((&row[0], &row[2]), ((n + 5).to_string().as_bytes(), line));
        assert!(String::from_utf8_lossy(&row[1]).contains(words), "{row:?}");
    }
    let (output, _) = import(&test, &file, &skip);
    assert_eq!(output.status.code(), Some(2));
    let (run, before) = (Uuid::new_v4().to_string(), fs::read(&file).expect("the file exists"));
    let over = ["--run", &run, "--on-error", "skip", "--rejects", file.to_str().expect("a path")];
    assert_eq!(import(&test, &file, &over).0.status.code(), Some(2));
    assert!(fs::read(&file).expect("the file exists") == before);

    let none = folder.path("none.csv");
    let skip = ["--on-error", "skip", "--rejects", none.to_str().expect("a path")];
    let (output, _) = import(&test, &folder.write("good.csv", accounts(3)), &skip);
    assert!(output.status.success() && !none.exists());
}

async fn repeated_rows_are_found_across_chunks(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let text = accounts(30) + "3,30\n31,310\n4,40\n";
    let file = folder.write("accounts.csv", &text);
    let (output, answer) = import(&test, &file, &["--chunk", "10", "--concurrency", "1"]);
    let error = answer["error"].as_str().expect("a line");
    assert!(error.contains("line 32: account 3 repeats line 4"), "{error}");
    let counts = ["rows", "rejected", "present"].map(|key| count(&answer, key));
    assert_eq!((output.status.code(), counts), (Some(1), [31, 2, 0]), "{answer}");

    // Repetitions within a chunk are found before it is sent.
    folder.write("accounts.csv", text + "3,30\n");
    let rejects = folder.path("rejects.csv");
    let skip = ["--chunk", "10", "--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (_, answer) = import(&test, &file, &skip);
    let counts = ["rows", "rejected", "present"].map(|key| count(&answer, key));
    assert_eq!(counts, [0, 3, 31], "{answer}");
    let lines = fs::read_to_string(rejects).expect("the file exists");
    for line in ["32,account 3", "34,account 4", "35,account 3"] {
        assert!(lines.contains(line), "{lines}");
    }
}

async fn an_account_with_another_opening_balance_is_a_conflict(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    insert_account(&database, 2, 99).await;
    let file = folder.write("accounts.csv", accounts(3));
    let before = everything(&database).await;
    let (output, answer) = import(&test, &file, &[]);
    let error = answer["error"].as_str().expect("a line");
    assert_eq!((output.status.code(), count(&answer, "rows")), (Some(1), 0), "{answer}");
    assert!(error.contains("line 3: account 2 already exists with opening balance 99, not 20"), "{error}");
    assert!(everything(&database).await == before);

    let rejects = folder.path("rejects.csv");
    let run = Uuid::new_v4().to_string();
    let skip = ["--run", &run, "--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    for (rows, found) in [(2, 0), (0, 2)] {
        let (_, answer) = import(&test, &file, &skip);
        let counts = ["rows", "found", "rejected", "present"].map(|key| count(&answer, key));
        assert_eq!(counts, [rows, found, 1, 0], "{answer}");
        assert!(fs::read_to_string(&rejects).expect("the file exists").contains("3,"));
    }
    assert_eq!(crate::books::balances(&database).await, [(1, 10), (2, 99), (3, 30)]);
}

async fn a_transfer_of_an_unknown_account_is_rejected(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let database = test.connect().await;
    insert_account(&database, 1, 10).await;
    let header = "id,source_id,target_id,amount\n";
    let id = Uuid::new_v4();
    for (row, words) in [
        (format!("{id},1,2,5"), "there is no account 2"),
        (format!("{id},1,1,5"), "both source and target"),
        (format!("{id},1,2,0"), "the amount is zero"),
        ("x,1,2,5".to_owned(), "is not a UUID"),
    ] {
        let (output, answer) = import(&test, &folder.write("t.csv", format!("{header}{row}\n")), &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(
            output.status.code() == Some(1) && error.contains("line 2: ") && error.contains(words),
            "{error}"
        );
        assert_eq!(scalar(&database, "SELECT count(*) FROM transfers").await, 0);
    }
}

async fn invalid_files_are_refused(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let missing = folder.path("missing.csv");
    for (file, words) in [
        (missing, "cannot be read"),
        (folder.path("").to_owned(), "is a folder"),
        (folder.write("empty.csv", ""), "it is empty: the first line has to be a header"),
        (folder.write("headless.csv", "1,10\n"), "its first line is `1,10`"),
        (folder.write("other.csv", "id,balance,colour\n1,2,3\n"), "its first line is `id,balance,colour`"),
        (folder.write("plain.csv.gz", "id,balance\n1,2\n"), "it cannot be read"),
    ] {
        let (output, answer) = import(&test, &file, &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(2) && error.contains(words), "{error}");
    }
    let file = folder.write("accounts.csv", accounts(1));
    for arguments in
        [&["--on-error", "skip"][..], &["--rejects", "x.csv"], &["--chunk", "0"], &["--chunk", "x"]]
    {
        assert_eq!(import(&test, &file, arguments).0.status.code(), Some(2), "{arguments:?}");
    }
    test.seabank().args(["export", "accounts", "--format", "json"]).assert().code(2);
    test.seabank().args(["export", "accounts", "--output", "/nowhere/accounts.csv"]).assert().code(2);
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 0);
}

/// Needs constant memory.
async fn a_huge_line_is_rejected(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let path = folder.path("accounts.csv");
    let mut file = File::create(&path).expect("the file is created");
    file.write_all(b"id,balance\n1,10\n").expect("the file is written");
    for _ in 0..100 {
        file.write_all(&[b'7'; 1 << 20]).expect("the file is written");
    }
    file.write_all(b"\n2,20\n").expect("the file is written");
    let rejects = folder.path("rejects.csv");
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (_, answer) = import(&test, &path, &skip);
    assert_eq!((count(&answer, "rows"), count(&answer, "rejected")), (2, 1), "{answer}");
    let text = fs::read_to_string(rejects).expect("the file exists");
    assert!(text.contains("3,\"the line has 104857601 bytes") && text.len() < 10_000, "{text:.200}");
}

/// A person can correct it, although a spreadsheet reads a leading `=` as a formula.
async fn a_rejected_row_is_kept_verbatim(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let rows = ["=1+1,5", "@SUM(A1),5", "+x,-1", "=HYPERLINK(\"http://x\"),1"];
    let file = folder.write("formulas.csv", format!("id,balance\n{}\n", rows.join("\n")));
    let rejects = folder.path("rejects.csv");
    let skip = ["--on-error", "skip", "--rejects", rejects.to_str().expect("a path")];
    let (output, answer) = import(&test, &file, &skip);
    assert!(output.status.success() && count(&answer, "rejected") == rows.len() as u64, "{answer}");
    let mut written = csv::Reader::from_path(&rejects).expect("the file exists");
    let written: Vec<_> = written.records().map(|row| row.expect("valid CSV")[2].to_owned()).collect();
    assert_eq!(written, rows);
    let device = ["--on-error", "skip", "--rejects", "/dev/null"];
    assert!(import(&test, &folder.write("good.csv", accounts(1)), &device).0.status.success());
    let run = Uuid::new_v4().to_string();
    let device = [&device[..], &["--run", &run]].concat();
    assert!(import(&test, &folder.write("good.csv", accounts(1)), &device).0.status.success());
    assert!(fs::metadata("/dev/null").is_ok_and(|about| !about.is_file()));
}
