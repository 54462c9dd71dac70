//! Files that are written whole or not at all.

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use terminal::{Exit, Failure, Unfinished};

/// A new file's mode, before the umask.
const MODE: u32 = 0o666;

/// A file being written. It replaces the old one when it is whole.
pub(super) struct Output {
    path: PathBuf,
    flag: &'static str,
    file: File,
    /// The temporary file; `None` for a pipe or a device, which is written directly.
    unfinished: Option<(TempPath, Unfinished)>,
}

impl Output {
    /// `flag` gave the path. Wrong usage if it cannot be written.
    pub(super) fn create(path: &Path, flag: &'static str) -> Result<Self, Failure> {
        refuse_stdout(path, flag)?;
        // Replaces a link's target, not the link.
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

    /// Several writers append in turn.
    pub(super) fn writer(&self) -> Result<impl Write + Send + use<>, Failure> {
        self.file.try_clone().map(BufWriter::new).map_err(|error| unwritable(&error, self.flag))
    }

    /// Renames it to its path.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some((unfinished, _noted)) = self.unfinished else { return Ok(()) };
        let named = self.file.sync_all().and_then(|()| Ok(unfinished.persist(&self.path)?));
        named.map_err(|error| unwritable(&error, self.flag))
    }
}

/// A temporary file beside the one that it replaces, with its mode and, if permitted, its owner.
fn unfinished(path: &Path) -> io::Result<(File, (TempPath, Unfinished))> {
    let replaced = match File::options().write(true).open(path) {
        Ok(replaced) => Some(replaced.metadata()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // For its error: a temporary file's names a file that the user does not know.
    fs::metadata(folder)?;
    let (file, path) = tempfile::Builder::new()
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)
        .map_err(|error| io::Error::new(error.kind(), error.kind().to_string()))?
        .into_parts();
    if let Some(replaced) = replaced {
        // Only an administrator may change the owner.
        let _ = fchown(&file, Some(replaced.uid()), Some(replaced.gid()));
        file.set_permissions(replaced.permissions())?;
    }
    let noted = Unfinished::new(&path);
    Ok((file, (path, noted)))
}

/// Refuses `-`: standard output is for the answer.
pub(super) fn refuse_stdout(path: &Path, flag: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Err(Failure::usage(format!(
            "standard output is for the answer: give {flag} the name of a file"
        )));
    }
    Ok(())
}

pub(super) fn unwritable(error: &dyn Display, flag: &str) -> Failure {
    let line = format!("it cannot be written: {error}: free some space, or give another {flag}");
    Failure::new(Exit::Failed, "unwritable", line)
}
