//! A PostgreSQL server with its own data folder and port, and default durability. Root runs it as
//! another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::database::Database;
use tempfile::TempDir;

use crate::StartError;
use crate::process::{Process, free_port, in_path};
use crate::user::User;

/// A running server. Dropping it deletes its data.
#[derive(Debug)]
pub struct Postgres {
    // First field: the process ends before its folder is deleted.
    process: Option<Process>,
    folder: TempDir,
    programs: PathBuf,
    user: Option<User>,
    port: u16,
    /// Additional settings, `name=value`.
    settings: Vec<String>,
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

    /// Starts a server on a new data folder.
    ///
    /// # Errors
    ///
    /// From `initdb`, or the server's log.
    pub async fn start(programs: &Path) -> Result<Self, StartError> {
        let mut server = Self::without_data(programs)?;
        let options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        server.make_data("initdb", &options)?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts a hot standby of this server.
    ///
    /// # Errors
    ///
    /// From `pg_basebackup`, or the standby's log.
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
        let user = User::unprivileged();
        if let Some(user) = user {
            user.owns(folder.path()).map_err(|e| failed(e.to_string()))?;
        }
        let port = free_port().map_err(|e| failed(e.to_string()))?;
        Ok(Self { process: None, folder, programs: programs.to_owned(), user, port, settings: Vec::new() })
    }

    /// Creates the data folder with one of the server's programs.
    fn make_data(&self, program: &str, options: &[&str]) -> Result<(), StartError> {
        let mut command = self.command(program);
        let made = command.args(options).arg("--pgdata").arg(self.data()).output();
        let made = made.map_err(|e| failed(e.to_string()))?;
        if made.status.success() {
            return Ok(());
        }
        Err(failed(format!("{program}: {}", String::from_utf8_lossy(&made.stderr).trim())))
    }

    /// Restarts it on its data; waits until it answers.
    ///
    /// # Errors
    ///
    /// The server's log.
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

    /// Restarts it with these settings, `name=value`, from now on. [`keep`](Self::keep) creates
    /// files for them.
    ///
    /// # Errors
    ///
    /// As [`restart`](Self::restart). `postgres` must be able to connect.
    pub async fn restart_with(&mut self, settings: Vec<String>) -> Result<Database, StartError> {
        self.settings = settings;
        self.restart().await
    }

    /// Creates a file that only the server can read.
    pub fn keep(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, text).expect("it can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        if let Some(user) = self.user {
            user.owns(&file).expect("root may give it away");
        }
        file
    }

    /// Kills the server (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Ends it without a checkpoint (`pg_ctl stop -m immediate`): the next start recovers from the
    /// log.
    pub fn stop_at_once(&mut self) {
        self.process = None;
    }

    /// Ends it and its sessions, with 57P01 (`pg_ctl stop -m fast`).
    pub async fn stop_fast(&mut self) {
        if let Some(process) = self.process.take() {
            process.end("INT").await;
        }
    }

    /// A database's URL.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        // Overrides the developer's PGSSLMODE.
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// The folder of its programs.
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
            user.runs(&mut command);
        }
        command
    }
}

fn failed(reason: String) -> StartError {
    StartError { server: "PostgreSQL", reason }
}

/// The `bin` folders in `parent`'s folders that start with `prefix`, newest version first.
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
