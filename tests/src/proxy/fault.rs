//! What can become of a request other than well.

use std::time::Duration;

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Before the request reaches the server.
    BeforeSending,
    /// After the server has carried it out, before its answer reaches the program.
    AfterApplied,
    /// After the first half of the answer's bytes.
    InReply,
}

/// One fault, which strikes one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection breaks, for both.
    Cut(Cut),
    /// The connection breaks for the program at once; the request reaches the server so much later.
    Late(Duration),
    /// Half-open: from now on nothing passes in either direction, and neither side is told. Whether the request
    /// itself still reached the server is `delivered`.
    Silent {
        /// Whether the server got the request.
        delivered: bool,
    },
    /// The request is held so long, and then goes its way, whether the program still waits for the answer or not.
    Stall(Duration),
    /// The server carries it out; its answer is held until the program has gone, which the server is then told.
    Hold,
    /// The server is never asked: its transaction is ended, and the program is answered with this SQLSTATE. Codes with
    /// which a server closes the connection do.
    Answer(&'static str),
    /// The server carries it out, and the program is answered with this SQLSTATE. Only of 40003 can that be true.
    AnswerAfterApplied(&'static str),
}

/// Whether a server that answers with this code closes the connection: it shuts down, cannot take one more, or has
/// ended the session.
pub(super) fn is_fatal(code: &str) -> bool {
    matches!(code, "53300" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04")
}

/// What a server of another version makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played {
    /// The real server is sent this text in place of the request's: a query's, or one to be prepared.
    Text(String),
    /// The real server is never asked: its transaction is ended, and the program is answered with this error.
    Error {
        /// The SQLSTATE.
        code: &'static str,
        /// The message.
        message: &'static str,
    },
}
