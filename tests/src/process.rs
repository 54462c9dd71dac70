//! A server as a child process, stopped when dropped.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use ::database::{Address, ConnectError, Database, Options, connect};

use crate::patience::{PATIENCE, connect_patiently};

/// The timeout of the first connection attempt, doubled for each further one.
const TRY_MAX: Duration = Duration::from_secs(2);

const STOP_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// The signal that ends it quickly.
    stop: &'static str,
}

impl Process {
    /// Starts it. The output goes to `log`: a daemon would hold the run's descriptors open.
    pub(crate) fn spawn(command: &mut Command, log: &Path, stop: &'static str) -> io::Result<Self> {
        let output = fs::File::options().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn()?;
        Ok(Self { child, log: log.to_owned(), stop })
    }

    /// Waits until it accepts a session at `url`.
    pub(crate) async fn ready(&mut self, url: &str) -> Result<Database, String> {
        let address = Address::parse(url).map_err(|error| error.to_string())?;
        let mut options = Options { connect_timeout: TRY_MAX, ..Options::default() };
        let started = Instant::now();
        loop {
            let error = match connect(&address, &options).await {
                // Reconnects, because this pool has the attempt's short timeout.
                Ok(_) => return connect_patiently(url, &Options::default()).await.map_err(|e| e.to_string()),
                Err(error) => error,
            };
            if matches!(error, ConnectError::TimedOut { .. }) {
                options.connect_timeout *= 2;
            }
            self.not_yet(started, &error).await?;
        }
    }

    /// Waits until it accepts connections at `address`.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> Result<(), String> {
        let started = Instant::now();
        while let Err(error) = tokio::net::TcpStream::connect(address).await {
            self.not_yet(started, &error).await?;
        }
        Ok(())
    }

    /// Pauses before the next attempt. Fails if the process has ended, or after too long.
    async fn not_yet(
        &mut self,
        started: Instant,
        error: &(dyn std::fmt::Display + Sync),
    ) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("it ended ({status}): {}", self.last_lines()));
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("not ready after {PATIENCE:?} ({error}): {}", self.last_lines()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it by a signal; waits, and kills it if that takes too long.
    pub(crate) async fn end(mut self, signal: &str) {
        self.signal(signal);
        let started = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if started.elapsed() > END_MAX {
                return self.kill();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
    }

    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its pid may have been reused.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(self.stop);
        let started = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if started.elapsed() > STOP_MAX {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A free port of 127.0.0.1.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A program's path in PATH.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
