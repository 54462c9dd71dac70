//! A file to write, which is there whole or not at all.

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use terminal::{Exit, Failure, Unfinished};

/// What a new file may have, but for what the umask takes.
const MODE: u32 = 0o666;

/// A file on its way. What was there under its name stays until it is whole.
pub(super) struct Output {
    path: PathBuf,
    /// What has named it.
    flag: &'static str,
    file: File,
    /// Where it is written until it is whole; a pipe or a device is written at once.
    unfinished: Option<(TempPath, Unfinished)>,
}

impl Output {
    /// One at `path`, which `flag` has named; wrong usage where it cannot be written.
    pub(super) fn create(path: &Path, flag: &'static str) -> Result<Self, Failure> {
        refuse_stdout(path, flag)?;
        // What a link leads to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let created = match fs::metadata(&path) {
            Ok(about) if !about.is_file() => File::options().write(true).open(&path).map(|file| (file, None)),
            _ => unfinished(&path).map(|(file, unfinished)| (file, Some(unfinished))),
        };
        let refused = |error| {
            Failure::usage(format!("{} cannot be written: {error}: give another {flag}", path.display()))
        };
        let (file, unfinished) = created.map_err(refused)?;
        Ok(Self { path, flag, file, unfinished })
    }

    /// Writes to it. Several write behind each other.
    pub(super) fn writer(&self) -> Result<impl Write + Send + use<>, Failure> {
        self.file.try_clone().map(BufWriter::new).map_err(|error| unwritable(&error, self.flag))
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some((unfinished, _noted)) = self.unfinished else { return Ok(()) };
        let named = self.file.sync_all().and_then(|()| Ok(unfinished.persist(&self.path)?));
        named.map_err(|error| unwritable(&error, self.flag))
    }
}

/// A file beside the one that it is to replace, with its mode, and its owner where that may be given.
fn unfinished(path: &Path) -> io::Result<(File, (TempPath, Unfinished))> {
    let replaced = match File::options().write(true).open(path) {
        Ok(replaced) => Some(replaced.metadata()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Asked for its own error: that of a temporary file names a file that the user has not.
    fs::metadata(folder)?;
    let (file, path) = tempfile::Builder::new()
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)
        .map_err(|error| io::Error::new(error.kind(), error.kind().to_string()))?
        .into_parts();
    if let Some(replaced) = replaced {
        // Only an administrator may give a file away.
        let _ = fchown(&file, Some(replaced.uid()), Some(replaced.gid()));
        file.set_permissions(replaced.permissions())?;
    }
    let noted = Unfinished::new(&path);
    Ok((file, (path, noted)))
}

/// Refuses `-` where standard output is the answer's.
pub(super) fn refuse_stdout(path: &Path, flag: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Err(Failure::usage(format!(
            "standard output is for the answer: give {flag} the name of a file"
        )));
    }
    Ok(())
}

/// What a disk says that takes no more.
pub(super) fn unwritable(error: &dyn Display, flag: &str) -> Failure {
    let line = format!("it cannot be written: {error}: free some space, or give another {flag}");
    Failure::new(Exit::Failed, "unwritable", line)
}
