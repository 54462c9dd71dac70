//! The new user's password, from the environment or the terminal.

use std::fs::File;
use std::io::IsTerminal;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use terminal::{Exit, Failure};

use crate::setup::Password;

/// No argument: other users of the machine see those.
const PASSWORD: &str = "BANK_PASSWORD";

/// Cancel safe: a drop restores the terminal.
pub(super) async fn ask(user: &str, none: bool) -> Result<Option<Password>, Failure> {
    if none {
        return Ok(None);
    }
    if let Ok(password) = std::env::var(PASSWORD) {
        // Files and `echo` end in a newline.
        let password = password.trim_end_matches(['\r', '\n']);
        if !password.is_empty() {
            return Ok(Some(Password(password.to_owned())));
        }
    }
    let missing = || {
        Failure::usage(format!(
            "there is no password for {user}: set the variable {PASSWORD}, or give --no-password"
        ))
    };
    if !std::io::stdin().is_terminal() {
        return Err(missing());
    }
    let _as_it_was = Terminal::remember();
    let password = prompt(format!("Password for {user}: ")).await?;
    if password.is_empty() {
        return Err(missing());
    }
    if prompt("Once more: ".to_owned()).await? != password {
        return Err(Failure::usage("the two passwords differ: nothing was done, run it again"));
    }
    Ok(Some(Password(password)))
}

/// Its thread is abandoned if the process ends.
async fn prompt(text: String) -> Result<String, Failure> {
    let reading = tokio::task::spawn_blocking(move || rpassword::prompt_password(text));
    let read = reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|error| {
        let line = format!("no password was read ({error}): set the variable {PASSWORD}");
        Failure::new(Exit::Failed, "no_password", line)
    })
}

/// Restores the terminal's echo on drop.
struct Terminal(Option<(File, Termios)>);

impl Terminal {
    fn remember() -> Self {
        let terminal = File::open("/dev/tty").ok();
        Self(terminal.and_then(|terminal| tcgetattr(&terminal).ok().map(|was| (terminal, was))))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some((terminal, was)) = &self.0 {
            let _ = tcsetattr(terminal, OptionalActions::Now, was);
        }
    }
}
