//! Files of accounts.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes CSV for `import`, and text for `\copy`, the only format of CockroachDB v20.
pub(crate) fn write(folder: &Path, rows: u64) -> (PathBuf, PathBuf) {
    let (csv, text) = (folder.join(format!("{rows}.csv")), folder.join(format!("{rows}.txt")));
    let open = |path| BufWriter::new(File::create(path).expect("it can be made"));
    let (mut to_csv, mut to_text) = (open(&csv), open(&text));
    writeln!(to_csv, "id,balance").expect("it can be written");
    for n in 0..rows {
        // Unordered, each id once: the step is coprime to the range.
        let (id, balance) = ((n * 618_033_989) % 1_000_000_000, (n * 7919) % 1_000_000);
        writeln!(to_csv, "{id},{balance}").expect("it can be written");
        writeln!(to_text, "{id}\t{balance}\t{balance}").expect("it can be written");
    }
    for file in [&mut to_csv, &mut to_text] {
        file.flush().expect("it can be written");
    }
    (csv, text)
}
