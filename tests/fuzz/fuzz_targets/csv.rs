//! Fuzzes the CSV reader: it returns every non-empty line once, with its number and fields that the
//! crate `csv` writes back to an equal line.
#![no_main]

// Included as a file: building the whole app takes minutes.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../app/src/bank/csv.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use reader::{LINE_MAX, Reader};

fuzz_target!(|text: &[u8]| {
    let mut lines = Reader::new(text);
    let mut numbers = Vec::new();
    while let Some(line) = lines.next_line().expect("memory can be read") {
        numbers.push(line.number);
        assert!(line.bytes.len() <= LINE_MAX);
        if let Ok(fields) = line.fields {
            assert!(fields.count() > 0 && fields.iter().count() == fields.count());
            let fields: Vec<&str> = fields.iter().collect();
            assert_reads_back(&fields);
        }
    }
    let without_mark = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let there = (1..).zip(without_mark.split(|byte| *byte == b'\n'));
    let there = there.filter(|(_, line)| line.iter().any(|byte| *byte != b'\r')).map(|(number, _)| number);
    assert!(numbers.into_iter().eq(there));
});

fn assert_reads_back(fields: &[&str]) {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields).expect("it can be written");
    // After a header, so that it is not taken for a byte order mark.
    let text = [b"header\n", writer.into_inner().expect("it can be written").as_slice()].concat();
    let mut lines = Reader::new(text.as_slice());
    let header = lines.next_line().expect("memory can be read").expect("it is there");
    assert_eq!(header.number, 1);
    let line = lines.next_line().expect("memory can be read").expect("it is there");
    match line.fields {
        Ok(read) => assert!(read.iter().eq(fields.iter().copied())),
        // Quotes that are doubled, and quotes around, can make it longer than a line may be.
        Err(_) => assert!(fields.iter().map(|field| field.len()).sum::<usize>() * 2 + 64 > LINE_MAX),
    }
}
