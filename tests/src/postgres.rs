//! A PostgreSQL server of its own: a data folder made for it, a free port, durability as it comes (later tests pull
//! the plug). It refuses to run as root, so root runs it as somebody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::Database;
use tempfile::TempDir;

use crate::StartError;
use crate::process::{Process, free_port, in_path};

/// A running server; stopped, and its data removed, when it goes out of scope.
#[derive(Debug)]
pub struct Postgres {
    // First: the process ends before its folder goes.
    process: Option<Process>,
    folder: TempDir,
    programs: PathBuf,
    user: Option<User>,
    port: u16,
    /// What it is started with beyond what all are, as `name=value`.
    settings: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) group: u32,
}

impl Postgres {
    /// The folder of `initdb` and `postgres`: Debian's and Red Hat's newest, PATH's, Homebrew's.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        let usual = |parent, prefix| newest_first(Path::new(parent), prefix);
        let mut folders = usual("/usr/lib/postgresql", "");
        folders.extend(usual("/usr", "pgsql-"));
        folders.extend(in_path("initdb").and_then(|file| Some(file.parent()?.to_owned())));
        for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
            folders.extend(usual(homebrew, "postgresql"));
        }
        folders.into_iter().find(|it| it.join("initdb").is_file() && it.join("postgres").is_file())
    }

    /// Makes a data folder and starts a server on it, with the programs in the folder given.
    ///
    /// # Errors
    ///
    /// What `initdb` or the server's log says.
    pub async fn start(programs: &Path) -> Result<Self, StartError> {
        let mut server = Self::without_data(programs)?;
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        server.make_data("initdb", &options)?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts a hot standby of this server, which follows it until it is promoted.
    ///
    /// # Errors
    ///
    /// What `pg_basebackup` or the standby's log says.
    pub async fn standby(&self) -> Result<Self, StartError> {
        let mut server = Self::without_data(&self.programs)?;
        let port = self.port.to_string();
        let primary = ["--host=127.0.0.1", "--port", &port, "--username=postgres"];
        let options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"];
        server.make_data("pg_basebackup", &[&primary[..], &options].concat())?;
        server.restart().await?;
        Ok(server)
    }

    fn without_data(programs: &Path) -> Result<Self, StartError> {
        let folder = TempDir::with_prefix("seabank-postgres-").map_err(|e| failed(e.to_string()))?;
        let user = unprivileged();
        if let Some(user) = user {
            chown(folder.path(), Some(user.id), Some(user.group)).map_err(|e| failed(e.to_string()))?;
        }
        let port = free_port().map_err(|e| failed(e.to_string()))?;
        Ok(Self { process: None, folder, programs: programs.to_owned(), user, port, settings: Vec::new() })
    }

    /// Makes the data folder by one of the server's programs.
    fn make_data(&self, program: &str, options: &[&str]) -> Result<(), StartError> {
        let mut command = self.command(program);
        let made = command.args(options).arg("--pgdata").arg(self.data()).output();
        let made = made.map_err(|e| failed(e.to_string()))?;
        if made.status.success() {
            return Ok(());
        }
        Err(failed(format!("{program}: {}", String::from_utf8_lossy(&made.stderr).trim())))
    }

    /// Starts it on the data it has, after it was ended in one way or another; waits until it answers.
    ///
    /// # Errors
    ///
    /// What the server's log says.
    pub async fn restart(&mut self) -> Result<Database, StartError> {
        self.process = None;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "max_connections=200"]);
        command.arg("-k").arg(self.folder.path());
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        let log = self.folder.path().join("log");
        let mut process =
            Process::spawn(&mut command, &log, "QUIT").map_err(|error| failed(error.to_string()))?;
        let database = process.ready(&self.url("postgres")).await.map_err(failed)?;
        self.process = Some(process);
        Ok(database)
    }

    /// Starts it on the data it has, now and from now on with these settings, each `name=value`. Those that name files
    /// name what [`keep`](Self::keep) has made.
    ///
    /// # Errors
    ///
    /// As for [`restart`](Self::restart); whoever may connect, `postgres` has to be able to.
    pub async fn restart_with(&mut self, settings: Vec<String>) -> Result<Database, StartError> {
        self.settings = settings;
        self.restart().await
    }

    /// Makes a file that the server can read and nobody else.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    pub fn keep(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("it can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        if let Some(user) = self.user {
            chown(&file, Some(user.id), Some(user.group)).expect("root may give it away");
        }
        file
    }

    /// `kill -9` of the server: what it had not made durable is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Ends it without a last checkpoint (`pg_ctl stop -m immediate`), with all its sessions: what was not made durable is
    /// gone, and the next start recovers from the log.
    pub fn stop_at_once(&mut self) {
        self.process = None;
    }

    /// Ends it well, with all its sessions, which are told so by 57P01 (`pg_ctl stop -m fast`).
    pub async fn stop_fast(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("INT").await;
        }
    }

    /// Where a database of this server is.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        // Without the last part the developer's PGSSLMODE would count.
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The folder of the programs that it was started from.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some(user) = self.user {
            command.uid(user.id).gid(user.group);
        }
        command
    }
}

fn failed(reason: String) -> StartError {
    StartError { server: "PostgreSQL", reason }
}

/// The `bin` folders below those of `parent` that start with `prefix`, the highest version first.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let version = |name: &str| {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0)
    };
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.starts_with(prefix).then(|| (version(&name), entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// For root, somebody else to be: `postgres` where that user exists, otherwise `nobody`.
pub(crate) fn unprivileged() -> Option<User> {
    let id = |args: &[&str]| -> Option<u32> {
        let answer = Command::new("id").args(args).output().ok()?;
        String::from_utf8(answer.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| Some(User { id: id(&["-u", name])?, group: id(&["-g", name])? }))
}
