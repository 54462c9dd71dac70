//! GenericPlans plans, made before the parameters are known: PostgreSQL may use one after five
//! executions, CockroachDB since v25.2.

use database::{Database, Server, sqlstate};
use sea_orm::sqlx::postgres::Postgres;
use sea_orm::sqlx::{self, AssertSqlSafe, Column, Row};
use sea_orm::{DbErr, RuntimeErr, Statement, Value, sea_query::ArrayType};

/// A session that forces generic plans.
pub(crate) struct GenericPlans {
    session: sqlx::pool::PoolConnection<Postgres>,
    server: Server,
}

impl GenericPlans {
    /// `None` if the server has no generic plans.
    pub(crate) async fn on(database: &Database) -> Option<Self> {
        if database.server == Server::Sqlite {
            return None;
        }
        let session = database.connection.get_postgres_connection_pool().acquire().await.expect("a session");
        let mut generic = Self { session, server: database.server };
        match generic.rows("SET plan_cache_mode = force_generic_plan").await {
            Ok(_) => Some(generic),
            // undefined_object: an older version.
            Err(error) if sqlstate(&error).as_deref() == Some("42704") => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Changes no rows.
    pub(crate) async fn plan(&mut self, statement: &Statement) -> Vec<String> {
        let values = statement.values.iter().flat_map(|values| &values.0);
        let types: Vec<_> = values.map(type_of).collect();
        // Array literals are text.
        let places =
            types.iter().enumerate().map(|(n, kind)| format!("CAST(${} AS {kind})", n + 1)).collect();
        let list =
            |of: Vec<String>| if of.is_empty() { String::new() } else { format!("({})", of.join(", ")) };
        let places = list(places);
        let types = list(types.iter().map(ToString::to_string).collect());
        // CockroachDB cannot explain a prepared statement without executing it.
        let explain = if self.server == Server::Cockroach { "EXPLAIN ANALYZE" } else { "EXPLAIN" };
        let execute = Statement { sql: format!("EXECUTE hot{places}"), ..statement.clone() }.to_string();
        let mut plan = Vec::new();
        for sql in [
            format!("PREPARE hot{types} AS {}", statement.sql),
            "BEGIN".to_owned(),
            format!("{explain} {execute}"),
            "ROLLBACK".to_owned(),
            "DEALLOCATE hot".to_owned(),
        ] {
            let lines = self.rows(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            plan.extend(lines);
        }
        plan
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<String>, DbErr> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *self.session).await;
        let rows = rows.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))?;
        let cells = |row: &sqlx::postgres::PgRow| {
            let texts =
                row.columns().iter().map(|it| row.try_get::<String, _>(it.ordinal()).unwrap_or_default());
            texts.collect::<Vec<_>>().join(" ")
        };
        Ok(rows.iter().map(cells).collect())
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::BigInt(_) | Value::BigUnsigned(_) => "int8",
        Value::Int(_) => "int4",
        Value::Uuid(_) => "uuid",
        Value::String(_) => "text",
        Value::Array(ArrayType::BigInt, _) => "int8[]",
        Value::Bool(_) => "bool",
        Value::TimeDateTimeWithTimeZone(_) => "timestamptz",
        Value::Array(ArrayType::Uuid, _) => "uuid[]",
        Value::Array(ArrayType::Int, _) => "int4[]",
        Value::Array(ArrayType::Bool, _) => "bool[]",
        Value::Array(ArrayType::String, _) => "text[]",
        Value::Array(ArrayType::TimeDateTimeWithTimeZone, _) => "timestamptz[]",
        other => panic!("the hot path binds no {other:?}"),
    }
}
