//! The flags of every command.

use std::time::Duration;

use clap::Args;
use sea_orm_retry::Policy;
use terminal::ColorFlag;

use super::answer::Format;

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The database: cockroachdb://, postgres:// or sqlite://
    ///
    /// A file `.env` is read too. The default is sqlite://bank.db?mode=rwc.
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Connection"
    )]
    pub(super) database_url: Option<String>,

    /// The most connections [default: one per concurrent transaction]
    #[arg(long, global = true, value_name = "N", help_heading = "Connection", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) pool: Option<u32>,

    /// The most attempts of a transaction
    #[arg(long, global = true, value_name = "N", help_heading = "Retries", default_value_t = Policy::default().attempts_max,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_attempts: u32,

    /// The retry budget of a transaction; a TIME is as 500ms, 30s, 1m30s or 2h, or in seconds
    ///
    /// It is also the longest wait for a connection or for a standby's promotion.
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", allow_hyphen_values = true,
        value_parser = super::values::time("1ms", "24h"), help_heading = "Retries")]
    pub(super) retry_for: Duration,

    /// CockroachDB: restarts from a savepoint before a new transaction
    #[arg(long, global = true, value_name = "N", help_heading = "Retries")]
    pub(super) savepoint_restarts: Option<u32>,

    /// Print every SQL statement to standard error with its parameters, BEGIN and COMMIT included
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) echo: bool,

    /// The format of answers
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub(super) format: Format,

    /// Print answers and errors only
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) color: ColorFlag,
}
