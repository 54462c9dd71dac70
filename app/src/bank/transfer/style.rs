//! The styles of a transfer.

use database::Server;

/// How a transfer is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Two statements built with SeaQuery, with the arithmetic in the database.
    #[default]
    Builder,
    /// Entities: read, compute, write back, as the tutorial's sample does.
    Orm,
    /// One autocommitted statement. Not on SQLite, whose statements change one table.
    Single,
}

impl Style {
    /// The styles that a server supports.
    pub fn on(server: Server) -> impl Iterator<Item = Self> {
        [Self::Builder, Self::Orm, Self::Single].into_iter().filter(move |style| style.works_on(server))
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Orm => "orm",
            Self::Single => "single",
        }
    }

    /// Whether a server supports it.
    #[must_use]
    pub fn works_on(self, server: Server) -> bool {
        self != Self::Single || server != Server::Sqlite
    }
}
