//! Faults of one request.

use std::time::Duration;

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Before the request reaches the server.
    BeforeSending,
    /// After the server has executed it, before its answer.
    AfterApplied,
    /// After half of the answer's bytes.
    InReply,
}

/// A fault of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Closes the connection on both sides.
    Cut(Cut),
    /// Closes the program's side at once, and delivers the request after this delay.
    Late(Duration),
    /// A half-open connection: nothing passes in either direction any more, and neither side is
    /// told.
    Silent {
        /// Whether the request still reaches the server.
        delivered: bool,
    },
    /// Delays the request, whether or not the program still waits for the answer.
    Stall(Duration),
    /// Executes the request, and holds the answer until the program has disconnected.
    Hold,
    /// Aborts the server's transaction and answers with this SQLSTATE, closing the connection where
    /// a server would.
    Answer(&'static str),
    /// Executes the request and answers with this SQLSTATE. Only 40003 can be true.
    AnswerAfterApplied(&'static str),
}

/// Whether a server closes the connection after this code.
pub(super) fn is_fatal(code: &str) -> bool {
    matches!(code, "53300" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04")
}

/// An answer of a server of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played {
    /// Sends this text to the server instead of the request's.
    Text(String),
    /// Aborts the server's transaction and answers with this error.
    Error {
        /// The SQLSTATE.
        code: &'static str,
        /// The message.
        message: &'static str,
    },
}
