#![doc = include_str!("../README.md")]

mod attempt;
mod begin;
mod class;
mod counter;
mod ended;
mod observer;
mod policy;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public for simulations only"))]
mod pool;
mod record;
mod run;
mod runner;
mod savepoint;
mod server;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public for simulations only"))]
mod session;
mod shared;
mod state;
mod stream;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod turn;
mod tx;
mod worker;

pub use class::{Class, driver_error, reason, sqlstate};
pub use counter::{Counter, Counts};
pub use ended::{Attempt, Ended, Kind};
pub use observer::{AttemptEnded, Observer, Outcome, RunEnded};
pub use policy::{Isolation, Policy};
#[cfg(feature = "testing")]
pub use pool::Pool;
pub use runner::Runner;
pub use server::Server;
#[cfg(feature = "testing")]
pub use session::{Begin, Id, Rows, Session, Sessions};
pub use stream::TxStream;
pub use table::{Phase, Verdict, decide};
pub use tx::Tx;
pub use worker::Worker;

#[cfg(not(feature = "testing"))]
pub(crate) use session::{Begin, Id, Session, Sessions};
