//! Whether the server has the capacity for the bank's connections.

use crate::bank::Runner;
use database::{CONNECTION_LIMITS, Server};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_retry::Tx;

use super::{Patient, State, Unseen, ask};

/// Active connections per processor:
/// <https://www.cockroachlabs.com/docs/stable/connection-pooling>.
const CONNECTIONS_PER_CORE: u32 = 4;

pub(super) async fn nodes(runner: &Runner, standby: bool) -> Result<State, Unseen> {
    match runner.server() {
        Server::Sqlite => return Ok(State::ok("none: a file of this machine")),
        Server::Postgres if standby => return Ok(State::ok("a hot standby, which takes no writes")),
        Server::Postgres => {
            let row = ask(runner, "SELECT count(*) FROM pg_stat_replication").await?;
            let standbys: i64 = row.try_get_by_index(0)?;
            return Ok(State::ok(format!("a primary; standbys that follow it: {standbys}")));
        }
        Server::Cockroach => {}
    }
    let sql = "SELECT count(*), count(*) FILTER (WHERE is_live) FROM crdb_internal.gossip_nodes";
    let row = ask(runner, sql).await?;
    let (all, live): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let found = format!("{live} of {all} are live");
    Ok(match all {
        _ if live < all => State::warn(
            found,
            "start the missing nodes, or decommission them: losing another may lose the quorum",
        ),
        1 | 2 => State::ok(format!("{found}: to survive the loss of a node a cluster needs three")),
        _ => State::ok(found),
    })
}

/// Compares the pool's size with the server's processors and connection limits.
pub(super) async fn pool(runner: &Runner, patient: &Patient) -> Result<State, Unseen> {
    let connections = &patient.connections;
    if runner.server() == Server::Sqlite {
        return Ok(State::ok(format!("{connections} connections, of which one writes at a time")));
    }
    if runner.server() == Server::Postgres
        && let Some(state) = too_many_for_postgres(runner, *connections).await?
    {
        return Ok(state);
    }
    let Some(cores) = cores(runner, patient).await? else {
        return Ok(State::warn(
            format!("{connections} connections; the number of processors is unknown"),
            "give --server-cores N, the processors of all nodes together",
        ));
    };
    let most = cores.saturating_mul(CONNECTIONS_PER_CORE);
    let found = format!("{connections} connections for {cores} processors");
    Ok(if *connections <= most {
        State::ok(found)
    } else {
        State::warn(
            format!("{found}: {CONNECTIONS_PER_CORE} for each are enough"),
            format!(
                "give --pool {most}, and no larger --concurrency: more would queue in the server, not in the pool"
            ),
        )
    })
}

async fn too_many_for_postgres(runner: &Runner, connections: u32) -> Result<Option<State>, Unseen> {
    let limits = runner.query("doctor", async |tx: &Tx| {
        tx.query_all_raw(Statement::from_string(tx.get_database_backend(), CONNECTION_LIMITS)).await
    });
    let mut least: Option<(i64, (String, String))> = None;
    for row in limits.await? {
        let (what, most, used): (String, i64, i64) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        // This examination's own come and go.
        let free = most - used;
        if least.as_ref().is_none_or(|(least, _)| free < *least) {
            let raise = match what.split_once(' ') {
                Some((kind, _)) => format!("the {kind}'s CONNECTION LIMIT"),
                None => "max_connections".to_owned(),
            };
            least = Some((free, (format!("but the {what} has {most}, of which {used} are in use"), raise)));
        }
    }
    let Some((free, (found, raise))) = least.filter(|(free, _)| *free < i64::from(connections)) else {
        return Ok(None);
    };
    let found = format!("{connections} connections, {found}");
    Ok(Some(State::warn(found, format!("give --pool {}, or raise {raise}", free.max(1)))))
}

/// As given, as the server says, or this machine's if the server runs on it.
async fn cores(runner: &Runner, patient: &Patient) -> Result<Option<u32>, Unseen> {
    if patient.server_cores.is_some() {
        return Ok(patient.server_cores);
    }
    // PostgreSQL: needs the right to read the server's files. CockroachDB: the ratio of two CPU
    // metrics; needs an administrator, and some seconds after the start.
    let sql = match runner.server() {
        Server::Cockroach => {
            "SELECT CAST(round(sum(((metrics->>'sys.cpu.user.percent')::FLOAT8 + (metrics->>'sys.cpu.sys.percent')::FLOAT8) \
             / nullif((metrics->>'sys.cpu.combined.percent-normalized')::FLOAT8, 0))) AS TEXT) FROM crdb_internal.kv_node_status"
        }
        _ => {
            "SELECT CASE WHEN has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE') \
             THEN pg_read_file('/sys/devices/system/cpu/online', 0, 1000, true) END"
        }
    };
    let told = match ask(runner, sql).await {
        Ok(row) => row.try_get_by_index::<Option<String>>(0)?,
        Err(error) => {
            tracing::debug!(%error, "the server does not say how many processors it has");
            None
        }
    };
    let told = told.as_deref().and_then(in_list);
    let here = || {
        patient
            .address
            .is_this_machine()
            .then(std::thread::available_parallelism)?
            .ok()?
            .get()
            .try_into()
            .ok()
    };
    Ok(told.or_else(here))
}

/// A number, or the length of a Linux CPU list: `0-3,8-11` is 8.
fn in_list(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number >= 1.0).then_some(number as u32);
    }
    let parts = text.split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        last.parse::<u32>().ok()?.checked_add(1)?.checked_sub(first.parse().ok()?)
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::in_list;

    #[test]
    fn processors_are_counted() {
        for (text, count) in [
            ("6", Some(6)),
            ("2.0", Some(2)),
            ("0-1\n", Some(2)),
            ("0-3,8-11", Some(8)),
            ("0-4294967295", None),
            ("3-1", None),
            ("", None),
            ("0", None),
            ("none", None),
        ] {
            assert_eq!(in_list(text), count, "{text:?}");
        }
    }
}
