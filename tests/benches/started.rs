//! Starts a benchmark's servers, one after the other.

use database::Server;
use tests::{Found, TestServer};

/// Runs `measure` on each server of a kind.
pub(crate) async fn each(server: Server, what: &str, measure: impl AsyncFn(TestServer)) {
    let found = match Found::all(server) {
        Ok(found) => found,
        Err(remedy) => return println!("NOT MEASURED: {what}: no {server} here: {remedy}"),
    };
    for found in found {
        match TestServer::start(&found).await {
            Ok(server) => measure(server).await,
            Err(error) => println!("NOT MEASURED: {what}: {error}"),
        }
    }
}
