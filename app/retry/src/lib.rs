#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public for simulations only"))]

mod attempt;
mod begin;
mod class;
mod ended;
mod observer;
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
pub use policy::Policy;
pub use runner::Runner;
pub use sea_orm::IsolationLevel as Isolation;
pub use server::Server;
pub use stream::TxStream;
pub use table::{Phase, Verdict, decide};
pub use tx::Tx;

use record::Failure;
use runner::Contract;
use server::Version;
use session::{Id, Link, Session, Sessions, answer};
use state::Run;
