//! The first line of a file, and recognising files that are not CSV.

use std::io::BufRead;

use crate::bank::csv::{Fields, Line, Reader, Shown};

/// Reads the fields of the first line. `known` describes the known headers.
pub(crate) fn read<'a, I: BufRead>(reader: &'a mut Reader<I>, known: &str) -> Result<Fields<'a>, String> {
    let line = reader.next_line().map_err(|error| format!("it cannot be read: {error}"))?;
    let Some(Line { bytes, fields, .. }) = line else { return Err(format!("it is empty: {known}")) };
    if let Some(reason) = other_format(bytes) {
        return Err(reason.to_owned());
    }
    fields.map_err(|error| format!("{error}: {known}"))
}

/// Why a header is unknown. `names`: the columns that a header may begin with.
pub(crate) fn not_known(fields: &Fields<'_>, names: &[&str], known: &str) -> String {
    match separator(fields, names) {
        Some(name) => format!("its separator is {name}: write it with commas"),
        None => {
            let text = fields.iter().collect::<Vec<_>>().join(",");
            format!("its first line is {}: {known}", Shown(&text))
        }
    }
}

/// The format of a file that is not CSV, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "it is gzipped: unpack it, or give it a name that ends in .gz"),
        (b"PK\x03\x04", "it is a ZIP archive, as spreadsheets are: save it as CSV"),
        (b"\xff\xfe", UTF_16),
        (b"\xfe\xff", UTF_16),
    ];
    const UTF_16: &str = "it is UTF-16: save it as UTF-8";
    let kind = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, kind)| *kind);
    if kind.is_none() && bytes.contains(&b'\r') {
        return Some("its lines end in a carriage return alone: save it with line breaks");
    }
    // ASCII in UTF-16 without a byte order mark has a zero in every other byte.
    kind.or(bytes.contains(&0).then_some(UTF_16))
}

fn separator(fields: &Fields<'_>, names: &[&str]) -> Option<&'static str> {
    let [text] = fields.iter().collect::<Vec<_>>()[..] else { return None };
    [(';', ";"), ('\t', "a tab"), ('|', "|")].into_iter().find_map(|(separator, shown)| {
        let mut columns = text.split(separator).map(|name| name.trim().trim_matches('"'));
        let first = columns.next()?;
        let known = names.iter().any(|name| first.eq_ignore_ascii_case(name));
        (known && columns.next().is_some()).then_some(shown)
    })
}
