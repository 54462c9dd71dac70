//! How both binaries meet their user: arguments, `.env`, logs, one line for a failure, exit codes.
//!
//! What it leaves to others: what the commands are, and what they answer.

mod exit;
mod input;
mod interrupt;
mod log;

pub use exit::{Exit, Failure};
pub use input::{load_env, parse};
pub use interrupt::{interrupted, interruption};
pub use log::{Logging, start_logging};
pub use tokio_util::sync::CancellationToken;
