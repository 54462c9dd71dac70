//! The program `seabank`; all of it is in the library.

use std::process::ExitCode;

/// A transfer asks for memory some 150 times, mostly for the driver's futures: with the system's allocator that is a quarter
/// of all its instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    seabank::cli::main()
}
