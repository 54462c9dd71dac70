#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(feature = "testing"),
    allow(unreachable_pub, reason = "what simulations use is public for them only")
)]

mod attempt;
mod begin;
mod class;
mod ended;
mod observer;
mod parameters;
mod policy;
mod pool;
mod record;
mod run;
mod runner;
mod savepoint;
mod server;
mod session;
mod shared;
mod state;
mod stream;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod tx;
mod worker;

pub use class::{Class, driver_error, reason, sqlstate};
pub use ended::{Attempt, Ended, Kind};
pub use observer::{AttemptEnded, Observer, RunEnded};
pub use parameters::log_parameters;
pub use policy::Policy;
pub use runner::Runner;
pub use sea_orm::IsolationLevel as Isolation;
pub use server::Server;
pub use stream::TxStream;
pub use table::{Phase, Verdict, decide};
pub use tx::Tx;
pub use worker::Worker;

use session::{Id, Session, Sessions};
