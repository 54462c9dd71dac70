//! An unprivileged user for servers that refuse to run as root.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    id: u32,
    group: u32,
}

impl User {
    /// For root: `postgres`, or else `nobody`. `None` for other users.
    pub(crate) fn unprivileged() -> Option<Self> {
        let id = |args: &[&str]| -> Option<u32> {
            let answer = Command::new("id").args(args).output().ok()?;
            String::from_utf8(answer.stdout).ok()?.trim().parse().ok()
        };
        if id(&["-u"]) != Some(0) {
            return None;
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some(Self { id: id(&["-u", name])?, group: id(&["-g", name])? }))
    }

    /// Gives a file or folder to this user.
    pub(crate) fn owns(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.id), Some(self.group))
    }

    /// Runs a command as this user.
    pub(crate) fn runs(self, command: &mut Command) {
        command.uid(self.id).gid(self.group);
    }
}
