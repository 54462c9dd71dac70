//! What both binaries share: arguments, `.env`, output, logs, interruption, exit codes.

mod bar;
mod call;
mod color;
mod count;
mod env_file;
mod exit;
mod hint;
mod input;
mod interrupt;
mod log;
mod print;
mod wrap;

pub use bar::{erase_bar, show_bar};
pub use call::{CommandLine, Program};
pub use color::ColorFlag;
pub use count::{counted, counted_were, grouped};
pub use env_file::load_env;
pub use exit::{Exit, Failure};
pub use input::parse;
pub use interrupt::{CLOSE_INTERRUPTED, Unfinished, interrupted, interruption};
pub use log::{Logging, start_logging};
pub use print::{print, prompt, say};
pub use wrap::wrapped;

/// The version of both programs, with the commit.
pub const VERSION: &str = env!("SEABANK_VERSION");
