//! A retrying SeaORM transaction closure that says what is applied, what failed, and what is unknown.
//!
//! ```no_run
//! # use sea_orm::{ConnectionTrait, DbErr};
//! # async fn f(db: database::Database) -> Result<(), transaction::Error<DbErr>> {
//! transaction::run(&db, "raise", async |tx| {
//!     tx.execute_unprepared("UPDATE accounts SET balance = balance + 1 WHERE id = 7").await.map(drop)
//! })
//! .await
//! # }
//! ```
//!
//! A database that serializes concurrent transactions asks its clients to try some of them again (SQLSTATE 40001). This
//! crate does so, and is careful about the rest:
//!
//! - The body is cloned for each attempt and gets a [`Tx`], which runs statements and nothing else.
//! - What an error means depends on what the runner was doing when it came: [`decide`] is the whole table.
//! - A lost answer to COMMIT is never guessed at. A body that keeps the contract of [`Runner::run_idempotent`] finds out
//!   and goes on; any other ends as [`Error::Unknown`].
//! - A connection on which anything was left unfinished is closed, never handed to the next borrower: a [`Session`] that is
//!   dropped is closed.
//!
//! It knows SeaORM, and which server it talks to; it knows nothing of the schema.

mod attempt;
mod class;
mod error;
mod keep;
mod policy;
mod run;
mod runner;
mod session;
mod stats;
mod table;
mod text;
mod tx;

pub use class::Class;
pub use error::{Attempt, Attempts, Error};
pub use policy::Policy;
pub use runner::{Runner, run};
pub use session::{Begin, Session, Sessions};
pub use stats::Counts;
pub use table::{Phase, Verdict, decide};
pub use tx::{Earlier, Tx};
