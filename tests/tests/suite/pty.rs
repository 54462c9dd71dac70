//! A pseudo-terminal, and what a program leaves on its screen.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

pub(crate) struct Pty {
    screen: OwnedFd,
    name: String,
}

/// What a program wrote to a terminal.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) status: ExitStatus,
    /// Control sequences included.
    pub(crate) text: String,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        unlockpt(&screen).expect("it is ours");
        let name = ptsname(&screen, Vec::new()).expect("a name").into_string().expect("text");
        Self { screen, name }
    }

    /// The end for a program.
    pub(crate) fn end(&self) -> File {
        File::options().read(true).write(true).open(&self.name).expect("its other end")
    }

    /// Runs a command to its end.
    pub(crate) fn run(self, mut command: Command) -> Written {
        command.stdin(self.end()).stdout(self.end()).stderr(self.end());
        let mut child = command.spawn().expect("it can be started");
        // The last end that is open is the child's.
        drop(command);
        let mut bytes = Vec::new();
        // Linux reports EIO when the last end is closed.
        let _ = File::from(self.screen).read_to_end(&mut bytes);
        let status = child.wait().expect("it has ended");
        Written { status, text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

impl Written {
    /// The lines on the screen, as a terminal of any width shows them.
    pub(crate) fn screen(&self) -> Vec<String> {
        let mut lines = vec![Vec::new()];
        let (mut row, mut column) = (0_usize, 0);
        let mut rest = self.text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\r' => column = 0,
                '\n' => row += 1,
                '\x1b' if rest.next_if_eq(&'[').is_some() => {
                    let mut number = String::new();
                    while let Some(digit) = rest.next_if(|c| !c.is_ascii_alphabetic()) {
                        number.push(digit);
                    }
                    match rest.next() {
                        Some('A') => row = row.saturating_sub(number.parse().unwrap_or(1)),
                        Some('B') => row += number.parse().unwrap_or(1),
                        Some('K') if number == "2" => lines[row].clear(),
                        Some('K') => lines[row].truncate(column),
                        Some('m' | 'h' | 'l') => {}
                        other => panic!("an unknown sequence, {number}{other:?}: {:?}", self.text),
                    }
                }
                c => {
                    if lines[row].len() <= column {
                        lines[row].resize(column + 1, ' ');
                    }
                    lines[row][column] = c;
                    column += 1;
                }
            }
            if lines.len() <= row {
                lines.resize(row + 1, Vec::new());
            }
        }
        let lines = lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }
}
