//! The schema, and the user's rights on it.

use crate::bank::{Error, Runner};
use database::{Database, Server, sqlstate};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::Tx;
use terminal::CommandLine;

use super::{State, Unseen};
use crate::bank::query::fetch_one;

pub(super) async fn schema(database: &Database) -> Result<State, Unseen> {
    let total = migration::total();
    let pending = match migration::pending(database).await {
        Ok(pending) => pending,
        Err(error @ migration::Error::Ahead { .. }) => {
            return Ok(State::fail(error.to_string(), "use the program of that version"));
        }
        Err(error @ migration::Error::Refused(_)) => {
            return Ok(State::fail(error.to_string(), "then run doctor again"));
        }
        Err(error) => return Err(unseen(&error)),
    };
    match migration::verify(database).await {
        Ok(()) => {}
        Err(error @ migration::Error::Elsewhere { .. }) => {
            return Ok(State::warn(error.to_string(), "let new tables be created in the bank's schema"));
        }
        Err(error @ migration::Error::Refused(_)) => {
            return Ok(State::fail(error.to_string(), "then migrate, and run doctor again"));
        }
        Err(error) => return Err(unseen(&error)),
    }
    Ok(match pending.len() {
        0 => State::ok(format!("all {total} are applied")),
        missing => State::fail(
            format!("{missing} of {total} are missing: {}", pending.join(", ")),
            format!("run `{}`", CommandLine::migrate("up")),
        ),
    })
}

fn unseen(error: &migration::Error) -> Unseen {
    let lost = matches!(error, migration::Error::Lost { .. });
    Unseen { denied: false, lost, reason: error.to_string() }
}

const NEEDED: [(&str, &[&str]); 4] = [
    ("accounts", &["SELECT", "INSERT", "UPDATE"]),
    ("transfers", &["SELECT", "INSERT"]),
    ("points", &["SELECT", "INSERT"]),
    ("batches", &["SELECT", "INSERT"]),
];

/// The rights on the tables or, before the migration, to create them.
pub(super) async fn rights(runner: &Runner, migrated: bool, standby: bool) -> Result<State, Unseen> {
    if standby {
        return Ok(State::warn(
            "a hot standby: the bank can be read here, and written on its primary",
            "to write, give the URL of the primary",
        ));
    }
    let missing = runner.run("rights", async |tx: &Tx| missing(tx, migrated).await).await;
    let missing = match missing {
        Ok(missing) => missing,
        // SQLITE_READONLY and its extensions.
        Err(Error::Database { error, .. }) if is_read_only(&error) => vec!["write".to_owned()],
        Err(error) => return Err(error.into()),
    };
    Ok(if missing.is_empty() {
        State::ok(if migrated {
            "this user may read and write all of the bank's tables"
        } else {
            "this user may make the bank's tables"
        })
    } else {
        let remedy = match runner.server() {
            Server::Sqlite => "let this user write the file and its folder, and give no mode=ro".to_owned(),
            _ if missing == [READ_ONLY] => "give the URL of a server that takes writes".to_owned(),
            _ => format!(
                "ask the database's owner to grant them, or run `{}` as an administrator",
                CommandLine::new("init").flag("--database-url", "URL")
            ),
        };
        State::fail(format!("this user may not {}", missing.join(", ")), remedy)
    })
}

/// A standby, or `default_transaction_read_only`.
const READ_ONLY: &str = "write: transactions are read-only here";

fn is_read_only(error: &DbErr) -> bool {
    sqlstate(error).and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 8)
}

async fn missing(tx: &Tx, migrated: bool) -> Result<Vec<String>, DbErr> {
    if tx.server() == Server::Sqlite {
        // SQLite has no rights to query: writes the value that is there.
        let version: i64 = fetch_one(tx, "PRAGMA user_version").await?.try_get_by_index(0)?;
        return tx.execute_unprepared(&format!("PRAGMA user_version = {version}")).await.map(|_| Vec::new());
    }
    if fetch_one(tx, "SHOW transaction_read_only").await?.try_get_by_index::<String>(0)? == "on" {
        return Ok(vec![READ_ONLY.to_owned()]);
    }
    let mut missing = Vec::new();
    if !migrated {
        if !has(tx, "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)").await? {
            missing.push("CREATE tables".to_owned());
        }
        return Ok(missing);
    }
    for (table, rights) in NEEDED {
        for right in rights {
            if !has(tx, &format!("has_table_privilege('{table}', '{right}')")).await? {
                missing.push(format!("{right} {table}"));
            }
        }
    }
    Ok(missing)
}

async fn has(tx: &Tx, asked: &str) -> Result<bool, DbErr> {
    fetch_one(tx, &format!("SELECT {asked}")).await?.try_get_by_index(0)
}
