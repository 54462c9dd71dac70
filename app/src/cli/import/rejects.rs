//! Where the rows go that are left out: a file of CSV with their line, the reason and what they were.

use std::fs::File;
use std::io;
use std::path::Path;

use terminal::Failure;

use crate::bank::load::Rejected;

/// So many are told on standard error too.
const TOLD_MAX: u64 = 10;

/// The file.
pub(super) struct Rejects {
    name: String,
    file: csv::Writer<File>,
    written: u64,
}

impl Rejects {
    /// Begins a file. One that is there is written anew only by a run that is told again, which finds every rejected row
    /// again.
    pub(super) fn create(path: &Path, again: bool) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let mut options = File::options();
        let file = options.write(true).truncate(again).create(again).create_new(!again).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::usage(format!("{name} is there already: give another --rejects, or move it away"))
            }
            _ => Failure::usage(format!("{name} cannot be written: {error}")),
        })?;
        let mut file = csv::Writer::from_writer(file);
        file.write_record(["line", "reason", "row"])
            .map_err(|error| Failure::usage(format!("{name} cannot be written: {error}")))?;
        Ok(Self { name, file, written: 0 })
    }

    /// Writes a row, and tells the first few.
    pub(super) fn write(&mut self, row: &Rejected, say: impl FnOnce(&str)) -> io::Result<()> {
        self.written += 1;
        if self.written <= TOLD_MAX {
            say(&format!("line {}: {}: left out", row.line, row.reason));
        } else if self.written == TOLD_MAX + 1 {
            say(&format!("further rows that are left out are told in {} only", self.name));
        }
        self.file.write_record([row.line.to_string().as_bytes(), row.reason.as_bytes(), &row.row])?;
        // Whoever is stopped has told of every row that its chunks left out.
        self.file.flush()
    }
}
