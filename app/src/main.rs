//! The program `seabank`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    seabank::cli::main()
}
