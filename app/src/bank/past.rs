//! How long CockroachDB keeps old versions of rows. Older snapshots cannot be read.

use std::time::Duration;

use database::Server;
use sea_orm::DbErr;
use sea_orm_retry::Tx;

use super::Bank;
use super::query::fetch_optional;

impl Bank {
    /// How far back the bank can be read, by the tables' zone configurations. `None` if unknown.
    pub async fn past_kept(&self) -> Option<Duration> {
        if self.server() != Server::Cockroach {
            return None;
        }
        let kept =
            async |tx: &Tx| Ok::<_, DbErr>([kept_of(tx, "accounts").await?, kept_of(tx, "transfers").await?]);
        match self.runner.query("past kept", kept).await {
            Ok(kept) => kept.into_iter().flatten().min(),
            Err(error) => {
                tracing::debug!(%error, "the server does not say how much of its past it keeps");
                None
            }
        }
    }
}

async fn kept_of(tx: &Tx, table: &str) -> Result<Option<Duration>, DbErr> {
    let sql = format!("SELECT raw_config_sql FROM [SHOW ZONE CONFIGURATION FOR TABLE {table}]");
    let zone = fetch_optional(tx, sql, []).await?;
    let zone = zone.map(|row| row.try_get_by_index::<String>(0)).transpose()?;
    Ok(zone.as_deref().and_then(seconds).map(Duration::from_secs))
}

/// A zone configuration's `gc.ttlseconds`.
fn seconds(zone: &str) -> Option<u64> {
    let value = zone.split("gc.ttlseconds = ").nth(1)?;
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn the_zone_says_for_how_long() {
        let zone = "ALTER RANGE default CONFIGURE ZONE USING\n\tgc.ttlseconds = 14400,\n\tnum_replicas = 3";
        assert_eq!(
            (seconds(zone), seconds("gc.ttlseconds = 600"), seconds("")),
            (Some(14400), Some(600), None)
        );
    }
}
