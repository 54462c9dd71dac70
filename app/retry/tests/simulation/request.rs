//! Requests as statements: the text names the request, the parameters are its fields.

use sea_orm::{DbBackend, Statement, Value};

/// A transfer, or the mark of a body without an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) source: usize,
    pub(crate) target: usize,
    pub(crate) amount: i64,
    pub(crate) run: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Write,
    WriteOverOrphan,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Begin(Begin),
    Savepoint,
    RollbackTo,
    Release,
    Commit,
    /// After a write to the log.
    CommitLogged,
    /// Only a write to the log.
    Wait,
    Rollback,
    /// SAVEPOINT
    Nest(u32),
    /// RELEASE
    Keep(u32),
    /// ROLLBACK TO
    Undo(u32),
    /// `strict`: an existing id is an error.
    Insert {
        id: u64,
        row: Row,
        strict: bool,
    },
    Look {
        id: u64,
    },
    /// Returns the balance of `source`.
    Lock {
        source: usize,
        target: usize,
    },
    /// Only with sufficient funds.
    Debit {
        account: usize,
        amount: i64,
    },
    Credit {
        account: usize,
        amount: i64,
    },
    /// A row without a key, once per attempt.
    Mark {
        tag: u64,
        row: Row,
    },
    /// A transfer in one statement. `strict`: an existing id is an error.
    Whole {
        id: u64,
        row: Row,
        strict: bool,
    },
    /// The sum of all balances, and the number of negative ones.
    Sum,
}

impl Request {
    pub(crate) fn nested(sql: &str) -> Self {
        let number = sql.rsplit('_').next().and_then(|number| number.parse().ok()).expect("it has a number");
        match sql.split(' ').next() {
            Some("SAVEPOINT") => Self::Nest(number),
            Some("RELEASE") => Self::Keep(number),
            _ => Self::Undo(number),
        }
    }

    pub(crate) fn gives_up(&self) -> bool {
        matches!(self, Self::Rollback | Self::RollbackTo | Self::Undo(_))
    }
}

/// The name in planned faults and in lists of requests.
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
