//! A file to write, which is there whole or not at all.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use terminal::{Exit, Failure};

/// A file on its way. What was there under its name stays until it is whole.
pub(super) struct Output {
    path: PathBuf,
    /// What has named it.
    flag: &'static str,
    file: File,
    /// Where it is written until it is whole; a pipe or a device is written at once.
    unfinished: Option<TempPath>,
}

impl Output {
    /// One at `path`, which `flag` has named; wrong usage where it cannot be written.
    pub(super) fn create(path: &Path, flag: &'static str) -> Result<Self, Failure> {
        // What a link leads to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = match fs::metadata(&path) {
            Ok(about) if !about.is_file() => File::options().write(true).open(&path).map(|file| (file, None)),
            _ => {
                let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
                NamedTempFile::new_in(folder).map(|file| {
                    let (file, unfinished) = file.into_parts();
                    (file, Some(unfinished))
                })
            }
        };
        let refused = |error| {
            Failure::usage(format!("{} cannot be written: {error}: give another {flag}", path.display()))
        };
        let (file, unfinished) = file.map_err(refused)?;
        Ok(Self { path, flag, file, unfinished })
    }

    pub(super) fn writer(&self) -> impl Write {
        BufWriter::new(&self.file)
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some(unfinished) = self.unfinished else { return Ok(()) };
        let named = self.file.sync_all().and_then(|()| Ok(unfinished.persist(&self.path)?));
        named.map_err(|error| unwritable(&error, self.flag))
    }
}

/// What a disk says that takes no more.
pub(super) fn unwritable(error: &dyn Display, flag: &str) -> Failure {
    let line = format!("it cannot be written: {error}: free some space, or give another {flag}");
    Failure::new(Exit::Failed, "unwritable", line)
}
