//! The faults of the matrix: what goes wrong, and when.

use std::time::Duration;

use tests::{Cut, Fault, Request};

use super::point::Point;

/// How long an answer is waited for in cells where none comes; longer than a busy machine takes for one that does.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Past that deadline.
const STALL: Duration = Duration::from_secs(3);
/// Late, but the next attempt is not over by itself.
const LATE: Duration = Duration::from_millis(300);

/// What goes wrong in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// On the wire, the first time the point is reached; and what then.
    Wire(Fault, Then),
    /// The body ends with an error of its own, at this point.
    BodyError,
    /// The whole run is dropped while the point is under way.
    Dropped,
    /// The server gives a statement up that waits for a lock.
    StatementTimeout,
    /// A column is added after the connection has prepared the statement.
    CachedPlan,
    /// The only pooled connection was closed by the server while nobody looked.
    PooledDead,
    /// The only pooled connection has an aborted transaction on it.
    PooledAborted,
    /// Two runs with one id; and whether the answers to their first commits are lost.
    AtOnce {
        /// They are.
        lost: bool,
    },
}

/// What follows the first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: all is well again.
    Well,
    /// The same each time the point is reached.
    Same,
    /// The same once more, the next time the point is reached.
    OnceMore,
    /// Every request is cut.
    NoServer,
    /// Every later BEGIN or single statement is answered with 40001.
    Conflicts,
    /// The second attempt's body ends with an error of its own before it has looked.
    BlindError,
    /// The second attempt's body ends with an error of its own after its first statement has proven the first one dead.
    ProvenError,
}

impl Trouble {
    /// The fault with the name of a row. A name that is a SQLSTATE is that answer.
    pub(super) fn of_row(name: &'static str) -> Self {
        let wire = |fault| Self::Wire(fault, Then::Well);
        let (before, after) = (Fault::Cut(Cut::BeforeSending), Fault::Cut(Cut::AfterApplied));
        match name {
            "40003 though applied" => wire(Fault::AnswerAfterApplied("40003")),
            "40001 always" => Self::Wire(Fault::Answer("40001"), Then::Same),
            "0A000 always" => Self::Wire(Fault::Answer("0A000"), Then::Same),
            "cut before sending" => wire(before),
            "cut after applied" => wire(after),
            "cut in the reply" => wire(Fault::Cut(Cut::InReply)),
            "late delivery" => wire(Fault::Late(LATE)),
            "half-open" => wire(Fault::Silent { delivered: false }),
            "half-open after delivery" => wire(Fault::Silent { delivered: true }),
            "stall past the deadline" => wire(Fault::Stall(STALL)),
            "cut before sending, twice" => Self::Wire(before, Then::OnceMore),
            "cut after applied, twice" => Self::Wire(after, Then::OnceMore),
            "cut before, then no server" => Self::Wire(before, Then::NoServer),
            "cut after, then no server" => Self::Wire(after, Then::NoServer),
            "cut before, then 40001 always" => Self::Wire(before, Then::Conflicts),
            "cut after, then blind error" => Self::Wire(after, Then::BlindError),
            "cut before, then proven error" => Self::Wire(before, Then::ProvenError),
            "statement timeout" => Self::StatementTimeout,
            "cached plan after a migration" => Self::CachedPlan,
            "body error" => Self::BodyError,
            "future dropped" => Self::Dropped,
            "pooled connection dead" => Self::PooledDead,
            "pooled connection aborted" => Self::PooledAborted,
            "two runs at once" => Self::AtOnce { lost: false },
            "two runs at once, answers lost" => Self::AtOnce { lost: true },
            code => {
                assert!(code.len() == 5, "a SQLSTATE, or the name of a fault: {code}");
                wire(Fault::Answer(code))
            }
        }
    }

    /// Whether an answer stays out, so that only a deadline ends the wait: the pool tries for ever to set a session up.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Wire(Fault::Silent { .. } | Fault::Stall(_), _) | Self::Wire(_, Then::Same))
    }

    /// What the proxy is to do at `point`; the returned receiver learns when it was done first.
    pub(super) fn plan(
        self,
        point: Point,
    ) -> (impl FnMut(&Request) -> Option<Fault> + Send + 'static, tokio::sync::watch::Receiver<u32>) {
        let (struck, watched) = tokio::sync::watch::channel(0_u32);
        let plan = move |request: &Request| {
            let before = *struck.borrow();
            let fault = match self {
                Self::Wire(fault, Then::Same) => point.is(request).then_some(fault),
                Self::Wire(fault, Then::OnceMore) if before < 2 => point.is(request).then_some(fault),
                Self::Wire(fault, _) if before == 0 => point.is(request).then_some(fault),
                Self::Wire(_, Then::NoServer) => Some(Fault::Cut(Cut::BeforeSending)),
                Self::Wire(_, Then::Conflicts) => {
                    let begins = Point::Begin.is(request) || Point::Single.is(request);
                    begins.then_some(Fault::Answer("40001"))
                }
                Self::Dropped if before == 0 => point.is(request).then_some(Fault::Hold),
                Self::AtOnce { lost: true } if before < 2 => {
                    let cut = if before == 0 { Cut::AfterApplied } else { Cut::BeforeSending };
                    point.is(request).then_some(Fault::Cut(cut))
                }
                _ => None,
            };
            if fault.is_some() {
                struck.send_modify(|times| *times += 1);
            }
            fault
        };
        (plan, watched)
    }
}
