//! Where the rows go that are left out: a file of CSV with their line, the reason and what they were.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use terminal::Failure;

use crate::cli::output::refuse_stdout;

use crate::bank::load::Rejected;

/// So many are told on standard error too.
const TOLD_MAX: u64 = 10;

/// What stands above them.
const HEADER: [&str; 3] = ["line", "reason", "row"];

/// The file. Where nothing was left out there is none in the end.
///
/// A row stands there as it was, byte for byte, so that it can be mended: also one that begins with `=`, which a spreadsheet
/// would take for a formula.
pub(super) struct Rejects {
    path: PathBuf,
    /// Whether it is a file, and not a pipe or a device, which stays as it is.
    is_file: bool,
    file: csv::Writer<File>,
    written: u64,
}

impl Rejects {
    /// Begins a file. One that is there is written anew only by a run that is told again, which finds every rejected row
    /// again; and only if it is such a file.
    pub(super) fn create(path: &Path, again: bool) -> Result<Self, Failure> {
        refuse_stdout(path, "--rejects")?;
        let name = path.display();
        let is_file = fs::metadata(path).map_or(true, |about| about.is_file());
        if again && is_file && path.exists() && !is_one(path) {
            return Err(Failure::usage(format!(
                "{name} holds something else than rejected rows: give another --rejects"
            )));
        }
        let mut options = File::options();
        options.write(true).truncate(again && is_file).create(again && is_file).create_new(!again && is_file);
        let file = options.open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::usage(format!("{name} is there already: give another --rejects, or move it away"))
            }
            _ => Failure::usage(format!("{name} cannot be written: {error}")),
        })?;
        let mut file = csv::Writer::from_writer(file);
        file.write_record(HEADER)
            .map_err(|error| Failure::usage(format!("{name} cannot be written: {error}")))?;
        Ok(Self { path: path.to_owned(), is_file, file, written: 0 })
    }

    /// Writes a row, and tells the first few.
    pub(super) fn write(&mut self, row: &Rejected, say: impl FnOnce(&str)) -> io::Result<()> {
        self.written += 1;
        if self.written <= TOLD_MAX {
            say(&format!("line {}: {}: left out", row.line, row.reason));
        } else if self.written == TOLD_MAX + 1 {
            say(&format!("further rows that are left out are told in {} only", self.path.display()));
        }
        self.file.write_record([row.line.to_string().as_bytes(), row.reason.as_bytes(), &row.row])?;
        // Whoever is stopped has told of every row that its chunks left out.
        self.file.flush()
    }
}

impl Drop for Rejects {
    fn drop(&mut self) {
        if self.written == 0 && self.is_file {
            // A header over nothing does no harm where it cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file has rejected rows, or nothing at all.
fn is_one(path: &Path) -> bool {
    let reader = csv::ReaderBuilder::new().has_headers(true).from_path(path);
    let headers = reader.and_then(|mut reader| reader.byte_headers().cloned());
    headers.is_ok_and(|headers| headers.is_empty() || headers == *HEADER.as_slice())
}
