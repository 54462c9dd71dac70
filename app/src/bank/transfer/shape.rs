//! Prepared texts: SeaQuery builds a text once for each backend. Building the UPDATE of style
//! `builder` each time took a fifth of the program's instructions.

use std::sync::OnceLock;

use sea_orm::sea_query::Values;
use sea_orm::{ConnectionTrait, DbBackend, Statement, StatementBuilder, Value};

pub(super) struct Shape {
    sqlite: OnceLock<String>,
    postgres: OnceLock<String>,
}

impl Shape {
    pub(super) const fn new() -> Self {
        Self { sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// The statement that `build` builds, with these values in the order of its text.
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
