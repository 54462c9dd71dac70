//! A statement whose text never changes: SeaQuery builds it once for each kind of server, and each transfer binds its own values.
//!
//! Building the UPDATE of style `builder` anew took a fifth of the instructions that a transfer cost this program, and came to the
//! same text every time.

use std::sync::OnceLock;

use sea_orm::sea_query::Values;
use sea_orm::{ConnectionTrait, DbBackend, Statement, StatementBuilder, Value};

/// The texts, once they are built.
pub(super) struct Shape {
    sqlite: OnceLock<String>,
    postgres: OnceLock<String>,
}

impl Shape {
    pub(super) const fn new() -> Self {
        Self { sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// What `build` builds, whose values these are, in the order in which its text names them.
    pub(super) fn bind<const N: usize, S: StatementBuilder>(
        &self,
        connection: &impl ConnectionTrait,
        values: [Value; N],
        build: impl FnOnce() -> S,
    ) -> Statement {
        let backend = connection.get_database_backend();
        let text = if backend == DbBackend::Sqlite { &self.sqlite } else { &self.postgres };
        let values = Some(Values(values.into()));
        let sql = text.get_or_init(|| {
            let built = backend.build(&build());
            assert_eq!(built.values, values, "{}", built.sql);
            built.sql
        });
        Statement { sql: sql.clone(), values, db_backend: backend }
    }
}
