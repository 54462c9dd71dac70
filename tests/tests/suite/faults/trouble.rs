//! The faults of the matrix.

use std::time::Duration;

use tests::{Cut, Fault, Request};

use super::point::Point;

/// The answer deadline if no answer comes: longer than a busy machine takes to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Longer than the deadline.
const STALL: Duration = Duration::from_secs(3);
/// Longer than the next attempt takes to begin.
const LATE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// On the wire, when the point is first reached, and what follows.
    Wire(Fault, Then),
    BodyError,
    /// The run is dropped at this point.
    Dropped,
    /// The server cancels a statement that waits for a lock.
    StatementTimeout,
    CachedPlan,
    /// The server has closed the only pooled connection.
    PooledDead,
    PooledAborted,
    /// Two runs with the same id.
    AtOnce {
        /// Whether the answers to their first commits are lost.
        lost: bool,
    },
}

/// What follows the first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Well,
    /// The same fault whenever the point is reached.
    Same,
    /// The same fault the next time the point is reached.
    OnceMore,
    /// Every request is cut.
    NoServer,
    /// Every later BEGIN or autocommitted statement is answered with 40001.
    Conflicts,
    /// The second attempt's body fails before its lookup.
    BlindError,
    /// The second attempt's body fails after its first statement has proved that the first attempt
    /// is not applied.
    ProvenError,
}

impl Trouble {
    /// The fault of a row. A SQLSTATE stands for that answer.
    pub(super) fn of_row(name: &'static str) -> Self {
        let wire = |fault| Self::Wire(fault, Then::Well);
        let (before, after) = (Fault::Cut(Cut::BeforeSending), Fault::Cut(Cut::AfterApplied));
        match name {
            "40003 though applied" => wire(Fault::AnswerAfterApplied("40003")),
            "40001 always" => Self::Wire(Fault::Answer("40001"), Then::Same),
            "XX000 of a lost race" => wire(Fault::Answer("XX000@MultiXactIdCreateFromMembers")),
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

    /// Whether an answer is missing, so that only a deadline ends the wait. The pool retries
    /// set-ups for ever.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Wire(Fault::Silent { .. } | Fault::Stall(_), _) | Self::Wire(_, Then::Same))
    }

    /// The proxy's plan for `point`. The receiver counts the injected faults.
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
