//! What can happen to a request, and the SQLSTATEs that it can be refused with.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use sea_orm_retry::Server;

use crate::request::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Executed and answered.
    Well,
    /// The connection breaks first.
    CutBefore,
    /// Executed; then the connection breaks.
    CutAfter,
    /// The connection breaks, and the request arrives later.
    Late(Duration),
    /// Never arrives, without an error.
    Silent,
    /// Executed, without an answer.
    NoAnswer,
    /// `applied` only if the code is ambiguous.
    Refused { code: &'static str, applied: bool },
}

/// `None`: the acquisition of a connection.
pub(crate) fn draw(rng: &mut ChaCha8Rng, kind: Server, request: Option<&Request>) -> Fate {
    let codes = codes(kind, request);
    let network = kind != Server::Sqlite;
    match rng.random_range(0..10) {
        0 if network => Fate::CutBefore,
        1 | 2 if network => Fate::CutAfter,
        3 if network => Fate::Late(Duration::from_millis(rng.random_range(0..4_000))),
        4 => Fate::Silent,
        5 => Fate::NoAnswer,
        _ if codes.is_empty() => Fate::Well,
        _ => {
            let (code, execution) = codes[rng.random_range(0..codes.len())];
            let applied = match execution {
                Execution::No => false,
                // PostgreSQL rolls back after this ERROR.
                Execution::Maybe if kind == Server::Postgres && code == "57014" => false,
                Execution::Yes => true,
                Execution::Maybe => rng.random::<bool>(),
            };
            Fate::Refused { code, applied }
        }
    }
}

#[derive(Clone, Copy)]
enum Execution {
    No,
    Yes,
    Maybe,
}

type Codes = &'static [(&'static str, Execution)];

fn codes(kind: Server, request: Option<&Request>) -> Codes {
    use Execution::{Maybe, No, Yes};
    let sqlite = kind == Server::Sqlite;
    match request {
        None if sqlite => &[("5", No)],
        None => &[("53300", No), ("57P03", No), ("57P02", No)],
        Some(Request::Rollback | Request::RollbackTo | Request::Undo(_)) => &[("XX000", No)],
        Some(Request::Begin(_)) if sqlite => &[("5", No), ("517", No)],
        Some(Request::Begin(_) | Request::Savepoint) => &[("57P01", No), ("40001", No), ("53300", No)],
        Some(Request::Commit | Request::CommitLogged | Request::Release) if sqlite => {
            &[("5", No), ("13", No), ("1034", Maybe), ("787", No)]
        }
        Some(Request::Commit | Request::CommitLogged | Request::Release) => &[
            ("40001", No),
            ("40P01", No),
            ("23503", No),
            ("23505", No),
            ("40003", Maybe),
            ("57P01", Maybe),
            ("57014", Maybe),
            ("58C01", Maybe),
            ("XX000", Maybe),
            ("XXA00", Yes),
        ],
        Some(Request::Whole { .. }) => &[
            ("40001", No),
            ("40P01", No),
            ("22003", No),
            ("23514", No),
            ("40003", Maybe),
            ("57P01", Maybe),
            ("57014", Maybe),
            ("58C01", Maybe),
            ("53300", Maybe),
        ],
        Some(_) if sqlite => &[("5", No), ("13", No), ("10", No)],
        Some(_) => &[
            ("40001", No),
            ("40001", No),
            ("CR000", No),
            ("40P01", No),
            ("40003", No),
            ("57P01", No),
            ("25P03", No),
            ("57014", No),
            ("58C01", No),
            ("0A000", No),
            ("23505", No),
            ("22003", No),
            ("XX000", No),
        ],
    }
}
