//! Encryption, isolation, durability.

use crate::bank::Runner;
use database::{Address, ConnectError, Database, Encryption, Pooler, Server};
use sea_orm_retry::Tx;

use super::{State, Unseen, ask};
use crate::bank::query::fetch_one;

const VERIFY: &str = "put sslmode=verify-full&sslrootcert=FILE into the URL";

pub(super) async fn tls(address: &Address) -> Result<State, Unseen> {
    let encryption = match database::encryption(address).await {
        Ok(encryption) => encryption,
        Err(error) => {
            let lost = matches!(error, ConnectError::TimedOut { .. } | ConnectError::NoServer { .. });
            return Err(Unseen { denied: false, lost, reason: error.to_string() });
        }
    };
    let found = match encryption {
        None => return Ok(State::ok("nothing leaves this machine")),
        Some(Encryption::HostVerified) => {
            return Ok(State::ok("on; the server's certificate and host name are verified"));
        }
        Some(Encryption::AuthorityVerified) => "on, but the certificate's host name is not verified",
        Some(Encryption::Unverified) => "on, but the server's certificate is not verified",
        Some(Encryption::Off) => {
            "off: anybody on the network can read and change what is sent, the password included"
        }
    };
    Ok(if address.is_this_machine() {
        State::ok(match encryption {
            Some(Encryption::Off) => "off; nothing leaves this machine",
            _ => "on; nothing leaves this machine",
        })
    } else {
        State::warn(found, VERIFY)
    })
}

pub(super) fn pooler(database: &Database) -> State {
    match database.pooler {
        Pooler::None if database.server == Server::Sqlite => State::ok("none: a file of this machine"),
        Pooler::None => State::ok("none: the sessions are the server's own"),
        Pooler::Sessions => State::ok("none, or one in session mode: no session is shared"),
        // Connecting refuses it.
        Pooler::Transactions => State::fail(
            "one in transaction or statement mode: sessions are shared with other programs",
            "set pool_mode = session, or give the host and port of the server itself",
        ),
    }
}

/// In a transaction like the bank's; on a hot standby in a read-only one.
pub(super) async fn isolation(runner: &Runner, standby: bool) -> Result<State, Unseen> {
    if standby {
        let found: String = runner
            .read("isolation", async |tx: &Tx| {
                fetch_one(tx, "SHOW transaction_isolation").await?.try_get_by_index(0)
            })
            .await?;
        return Ok(State::ok(format!("{found}, the isolation level of reads on a hot standby")));
    }
    let (sql, name) = match runner.server() {
        Server::Sqlite => ("SELECT CAST(read_uncommitted AS TEXT) FROM pragma_read_uncommitted", "0"),
        Server::Postgres | Server::Cockroach => ("SHOW transaction_isolation", "serializable"),
    };
    let found: String = runner
        .run("isolation", async |tx: &Tx| fetch_one(tx, sql).await?.try_get_by_index::<String>(0))
        .await?;
    Ok(if found == name {
        State::ok("serializable, read back in a transaction")
    } else {
        State::fail(
            format!("{found}, read back in a transaction"),
            "keep poolers from changing or resetting session settings",
        )
    })
}

/// Settings that COMMIT needs to be durable: name, good values, and what others mean.
const POSTGRES: [(&str, &[&str], &str); 3] = [
    ("fsync", &["on"], "a power cut loses what was committed, and may damage the database"),
    ("full_page_writes", &["on"], "a power cut may damage the database"),
    (
        "synchronous_commit",
        &["on", "local", "remote_write", "remote_apply"],
        "a crash loses what was committed last",
    ),
];

pub(super) async fn durability(runner: &Runner) -> Result<State, Unseen> {
    match runner.server() {
        Server::Sqlite => sqlite(runner).await,
        Server::Postgres => postgres(runner).await,
        Server::Cockroach => cockroach(runner).await,
    }
}

async fn postgres(runner: &Runner) -> Result<State, Unseen> {
    let mut found = Vec::new();
    let mut bad = None;
    for (name, good, means) in POSTGRES {
        let value: String = text(runner, &format!("SHOW {name}")).await?;
        if bad.is_none() && !good.contains(&value.as_str()) {
            bad = Some((name, means));
        }
        found.push(format!("{name} {value}"));
    }
    let found = found.join(", ");
    Ok(match bad {
        None => State::ok(found),
        Some((name, means)) => {
            State::fail(format!("{found}: {means}"), format!("set {name} = on in postgresql.conf"))
        }
    })
}

async fn sqlite(runner: &Runner) -> Result<State, Unseen> {
    let synchronous: i64 = ask(runner, "PRAGMA synchronous").await?.try_get_by_index(0)?;
    let journal = text(runner, "PRAGMA journal_mode").await?;
    let found = format!("journal_mode {journal}, synchronous {synchronous}");
    // 2 is FULL, 3 EXTRA.
    Ok(if synchronous >= 2 && journal != "off" && journal != "memory" {
        State::ok(found)
    } else {
        State::fail(
            format!("{found}: a power cut loses what was committed"),
            "open the file without mode=ro or immutable",
        )
    })
}

/// The setting's name differs between versions.
async fn cockroach(runner: &Runner) -> Result<State, Unseen> {
    let sql = "SELECT value FROM crdb_internal.cluster_settings WHERE variable IN \
               ('kv.raft_log.disable_synchronization_unsafe', 'kv.raft_log.synchronization.unsafe.disabled')";
    Ok(if text(runner, sql).await? == "false" {
        State::ok("every node syncs its log before a COMMIT is answered")
    } else {
        State::fail(
            "the nodes do not sync their logs: a power cut loses what was committed",
            "reset kv.raft_log.disable_synchronization_unsafe",
        )
    })
}

async fn text(runner: &Runner, sql: &str) -> Result<String, Unseen> {
    Ok(ask(runner, sql).await?.try_get_by_index(0)?)
}
