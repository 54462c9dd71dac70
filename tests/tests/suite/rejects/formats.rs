//! Files that are truncated, in another format, or written by other programs.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tests::{TestServer, scalar};

use crate::files::{Folder, accounts, count, import};

pub(super) async fn a_truncated_file_is_not_read_as_smaller_amounts(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(accounts(3).as_bytes()).expect("the file is written");
    let mut packed = packed.finish().expect("the file is written");
    packed.truncate(packed.len() - 9);
    for (name, text, words) in [
        ("quoted.csv", b"id,balance\n1,10\n2,\"50".to_vec(), "line 3: a quote is not closed"),
        ("plain.csv", b"id,balance\n1,10\n2,50".to_vec(), "line 3: the last line does not end"),
        ("packed.csv.gz", packed, "cannot be read further"),
    ] {
        let (output, answer) = import(&test, &folder.write(name, text), &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(1) && error.contains(words), "{name}: {error}");
        assert_eq!(count(&answer, "rows"), 0, "{name}: {answer}");
    }
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 0);
    // A time ends in its zone, so no digits can be missing.
    let text = "id,balance,opening_balance,created_at\n1,10,10,2026-01-01T00:00:00Z";
    assert_eq!(count(&import(&test, &folder.write("time.csv", text), &[]).1, "rows"), 1);
}

/// UTF-16, little-endian, without a byte order mark.
fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).expect("the file is written");
    packed.finish().expect("the file is written")
}

pub(super) async fn a_file_of_another_format_is_refused_with_its_format(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let text = accounts(3);
    let with = |separator: &str| text.replace(',', separator).into_bytes();
    for (name, bytes, words) in [
        ("semicolons.csv", with(";"), "its separator is ;"),
        ("tabs.csv", with("\t"), "its separator is a tab"),
        ("bars.csv", with("|"), "its separator is |"),
        ("quoted.csv", b"\"id\";\"balance\"\r\n1;10\r\n".to_vec(), "its separator is ;"),
        ("marked.csv", [b"\xef\xbb\xbf", &with(";")[..]].concat(), "its separator is ;"),
        ("packed.csv", packed(&text), "it is gzipped"),
        ("plain.csv.gz", with(","), "it is not gzipped"),
        ("utf16.csv", utf_16(&text), "it is UTF-16"),
        ("utf16le.csv", [b"\xff\xfe", &utf_16(&text)[..]].concat(), "it is UTF-16"),
        (
            "utf16be.csv",
            [b"\xfe\xff".to_vec(), text.encode_utf16().flat_map(u16::to_be_bytes).collect()].concat(),
            "it is UTF-16",
        ),
        ("mac.csv", text.replace('\n', "\r").into_bytes(), "a carriage return alone"),
        ("sheet.csv", b"PK\x03\x04\x14\x00".to_vec(), "it is a ZIP archive"),
    ] {
        let (output, answer) = import(&test, &folder.write(name, bytes), &[]);
        let error = answer["error"].as_str().expect("a line");
        assert!(output.status.code() == Some(2) && error.contains(words), "{name}: {error}");
    }
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 0);
}

pub(super) async fn files_of_other_programs_are_read(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let (gzip, zeros) = (packed(&accounts(2)), [0; 5000]);
    let psql = "id,balance,opening_balance,created_at\n11,1,1,2026-01-31 12:00:00+00\n12,1,1,2026-01-31 13:30:00.25+01:30\n\
                13,1,1,2026-01-31T12:00:00Z\n";
    let sheet = "\u{feff}id,balance\r\n21,1\r\n,\r\n,,,\r\n , \r\n\"\",\"\"\r\n22,1\r\n,,,,,,,,,,,,,,,,,,,,,,\r\n\r\n";
    for (name, bytes, rows) in [
        ("padded.csv.gz", [&gzip[..], &zeros].concat(), 2),
        (
            "members.csv.gz",
            [&packed("id,balance\n3,30\n")[..], &zeros, &packed("4,40\n"), &zeros].concat(),
            2,
        ),
        ("psql.csv", psql.as_bytes().to_vec(), 3),
        ("sheet.csv", sheet.as_bytes().to_vec(), 2),
    ] {
        let (output, answer) = import(&test, &folder.write(name, bytes), &[]);
        assert!(output.status.success() && count(&answer, "rows") == rows, "{name}: {answer}");
    }
    let history = |id: &str| {
        test.seabank().args(["history", id, "--format", "json"]).output().expect("the command runs").stdout
    };
    for (id, at) in [("11", "2026-01-31T12:00:00Z"), ("12", "2026-01-31T12:00:00.25Z")] {
        let answer: serde_json::Value = serde_json::from_slice(&history(id)).expect("a JSON object");
        assert_eq!(answer["created_at"], at, "{answer}");
    }
    let text = "id,balance,opening_balance,created_at\n31,1,1,2026-01-31 12:00:00\n";
    let (output, answer) = import(&test, &folder.write("zone.csv", text), &[]);
    let error = answer["error"].as_str().expect("a line");
    assert!(
        output.status.code() == Some(1) && error.contains("line 2: ") && error.contains("end it in Z"),
        "{error}"
    );
}
