//! What a client asks, and that as a statement and back: the text says what, the parameters with
//! what.

use sea_orm::{DbBackend, Statement, Value};

/// A transfer, or a mark of a body that has no id: what moved, and which run moved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) source: usize,
    pub(crate) target: usize,
    pub(crate) amount: i64,
    pub(crate) run: u64,
}

/// How a transaction begins, as far as the server cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Write,
    /// At high priority.
    WriteOverOrphan,
    /// Reads what is committed now.
    Snapshot,
}

impl Begin {
    pub(crate) fn read(sql: &str) -> Self {
        match sql {
            _ if ["AS OF SYSTEM TIME", "query_only", "REPEATABLE READ"].iter().any(|it| sql.contains(it)) => {
                Self::Snapshot
            }
            _ if sql.contains("PRIORITY HIGH") => Self::WriteOverOrphan,
            _ => Self::Write,
        }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Begin(Begin),
    Savepoint,
    RollbackTo,
    Release,
    Commit,
    /// COMMIT of a transaction that has written to the log, whatever else it did.
    CommitLogged,
    /// Writes to the log and nothing else.
    Wait,
    Rollback,
    /// Begins a nested transaction.
    Nest(u32),
    /// Commits it into what encloses it.
    Keep(u32),
    /// Undoes it.
    Undo(u32),
    /// Writes the id unless it is there. With `strict`, an id that is there is an error.
    Insert {
        id: u64,
        row: Row,
        strict: bool,
    },
    /// Whether the id is there, and by which run.
    Look {
        id: u64,
    },
    /// Locks both accounts; answers with the first one's balance.
    Lock {
        source: usize,
        target: usize,
    },
    /// Takes from an account that has enough.
    Debit {
        account: usize,
        amount: i64,
    },
    Credit {
        account: usize,
        amount: i64,
    },
    /// A row without an id of its own: every attempt adds one.
    Mark {
        tag: u64,
        row: Row,
    },
    /// The whole transfer at once. With `strict`, an id that is there is an error.
    Whole {
        id: u64,
        row: Row,
        strict: bool,
    },
    /// The sum of all balances, and how many are negative.
    Sum,
}

impl Request {
    /// The text of a nested transaction's control.
    pub(crate) fn nested(sql: &str) -> Self {
        let number = sql.rsplit('_').next().and_then(|number| number.parse().ok()).expect("it has a number");
        match sql.split(' ').next() {
            Some("SAVEPOINT") => Self::Nest(number),
            Some("RELEASE") => Self::Keep(number),
            _ => Self::Undo(number),
        }
    }

    /// Whether it gives work up.
    pub(crate) fn gives_up(&self) -> bool {
        matches!(self, Self::Rollback | Self::RollbackTo | Self::Undo(_))
    }
}

/// What a request is called where fates are told and statements listed.
pub(crate) fn verb(request: &Request) -> &'static str {
    match request {
        Request::Begin(Begin::Write) => "BEGIN",
        Request::Begin(Begin::WriteOverOrphan) => "BEGIN over",
        Request::Begin(Begin::Snapshot) => "BEGIN snapshot",
        Request::Savepoint => "SAVEPOINT",
        Request::RollbackTo => "ROLLBACK TO",
        Request::Release => "RELEASE",
        Request::Commit | Request::CommitLogged => "COMMIT",
        Request::Wait => "SELECT wait",
        Request::Nest(_) => "nest",
        Request::Keep(_) => "keep",
        Request::Undo(_) => "undo",
        Request::Rollback => "ROLLBACK",
        Request::Insert { strict: false, .. } => "INSERT id",
        Request::Insert { strict: true, .. } => "INSERT strict",
        Request::Look { .. } => "SELECT look",
        Request::Lock { .. } => "SELECT lock",
        Request::Debit { .. } => "UPDATE debit",
        Request::Credit { .. } => "UPDATE credit",
        Request::Mark { .. } => "INSERT mark",
        Request::Whole { strict: false, .. } => "UPDATE whole",
        Request::Whole { strict: true, .. } => "UPDATE whole strict",
        Request::Sum => "SELECT sum",
    }
}

/// A request of a body, as a statement.
pub(crate) fn encode(request: &Request) -> Statement {
    let transfer = |id: u64, row: &Row| {
        vec![number(id), number(row.source), number(row.target), row.amount.into(), number(row.run)]
    };
    let values: Vec<Value> = match request {
        Request::Insert { id, row, .. } | Request::Mark { tag: id, row } | Request::Whole { id, row, .. } => {
            transfer(*id, row)
        }
        Request::Look { id } => vec![number(*id)],
        Request::Lock { source, target } => vec![number(*source), number(*target)],
        Request::Debit { account, amount } | Request::Credit { account, amount } => {
            vec![number(*account), (*amount).into()]
        }
        _ => Vec::new(),
    };
    Statement::from_sql_and_values(DbBackend::Postgres, verb(request), values)
}

pub(crate) fn decode(statement: &Statement) -> Request {
    let values: Vec<i64> = statement
        .values
        .iter()
        .flat_map(|values| &values.0)
        .map(|value| if let Value::BigInt(Some(number)) = value { *number } else { 0 })
        .collect();
    let id = |n: usize| u64::try_from(values[n]).expect("encoded here");
    let account = |n: usize| usize::try_from(values[n]).expect("encoded here");
    let row = || Row { source: account(1), target: account(2), amount: values[3], run: id(4) };
    match statement.sql.as_str() {
        "INSERT id" => Request::Insert { id: id(0), row: row(), strict: false },
        "INSERT strict" => Request::Insert { id: id(0), row: row(), strict: true },
        "SELECT look" => Request::Look { id: id(0) },
        "SELECT lock" => Request::Lock { source: account(0), target: account(1) },
        "UPDATE debit" => Request::Debit { account: account(0), amount: values[1] },
        "UPDATE credit" => Request::Credit { account: account(0), amount: values[1] },
        "INSERT mark" => Request::Mark { tag: id(0), row: row() },
        "UPDATE whole" => Request::Whole { id: id(0), row: row(), strict: false },
        "UPDATE whole strict" => Request::Whole { id: id(0), row: row(), strict: true },
        "SELECT sum" => Request::Sum,
        other => panic!("unknown to the server: {other}"),
    }
}

fn number(n: impl TryInto<i64>) -> Value {
    n.try_into().ok().expect("small").into()
}
