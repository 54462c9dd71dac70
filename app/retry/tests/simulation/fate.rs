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
            let (code, truth) = codes[rng.random_range(0..codes.len())];
            let applied = match truth {
                Truth::Not => false,
                // PostgreSQL rolls back after this ERROR.
                Truth::Either if kind == Server::Postgres && code == "57014" => false,
                Truth::Is => true,
                Truth::Either => rng.random::<bool>(),
            };
            Fate::Refused { code, applied }
        }
    }
}

#[derive(Clone, Copy)]
enum Truth {
    Not,
    Is,
    Either,
}

type Codes = &'static [(&'static str, Truth)];

fn codes(kind: Server, request: Option<&Request>) -> Codes {
    use Truth::{Either, Is, Not};
    let sqlite = kind == Server::Sqlite;
    match request {
        None if sqlite => &[("5", Not)],
        None => &[("53300", Not), ("57P03", Not), ("57P02", Not)],
        Some(Request::Rollback | Request::RollbackTo | Request::Undo(_)) => &[("XX000", Not)],
        Some(Request::Begin(_)) if sqlite => &[("5", Not), ("517", Not)],
        Some(Request::Begin(_) | Request::Savepoint) => &[("57P01", Not), ("40001", Not), ("53300", Not)],
        Some(Request::Commit | Request::CommitLogged | Request::Release) if sqlite => {
            &[("5", Not), ("13", Not), ("1034", Either), ("787", Not)]
        }
        Some(Request::Commit | Request::CommitLogged | Request::Release) => &[
            ("40001", Not),
            ("40P01", Not),
            ("23503", Not),
            ("23505", Not),
            ("40003", Either),
            ("57P01", Either),
            ("57014", Either),
            ("58C01", Either),
            ("XX000", Either),
            ("XXA00", Is),
        ],
        Some(Request::Whole { .. }) => &[
            ("40001", Not),
            ("40P01", Not),
            ("22003", Not),
            ("23514", Not),
            ("40003", Either),
            ("57P01", Either),
            ("57014", Either),
            ("58C01", Either),
            ("53300", Either),
        ],
        Some(_) if sqlite => &[("5", Not), ("13", Not), ("10", Not)],
        Some(_) => &[
            ("40001", Not),
            ("40001", Not),
            ("CR000", Not),
            ("40P01", Not),
            ("40003", Not),
            ("57P01", Not),
            ("25P03", Not),
            ("57014", Not),
            ("58C01", Not),
            ("0A000", Not),
            ("23505", Not),
            ("22003", Not),
            ("XX000", Not),
        ],
    }
}
