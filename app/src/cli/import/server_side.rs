//! `import --server-side`: CockroachDB reads the file.

use std::time::{Duration, Instant};

use database::Server;
use terminal::{CommandLine, Exit, Failure, grouped};

use super::{Args, CHUNK, keys, text};
use crate::bank::server_side::{JobError, ServerSideError, Step};
use crate::cli::answer::Answer;
use crate::cli::context::Context;
use crate::cli::progress::{Counting, run_line};
use crate::cli::{failure, load};

pub(super) async fn run(context: &Context, args: &Args, url: &str) -> Result<Answer, Failure> {
    if !url.contains("://") {
        return Err(Failure::usage(
            "--server-side takes a URL that the server can read, as in http://host/accounts.csv or nodelocal://1/accounts.csv",
        ));
    }
    if context.address()?.is_file() {
        return Err(failed(&ServerSideError::Unsupported(Server::Sqlite), ""));
    }
    let database = context.connect_to_write(args.load.at_once() + 1).await?;
    if database.server != Server::Cockroach {
        return Err(failed(&ServerSideError::Unsupported(database.server), ""));
    }
    let (bank, long) = (context.migrated_bank(&database).await?, context.bank_for_jobs().await?);
    let loading = args.load.loading(context, CHUNK);
    let again = load::again(CommandLine::new("import").flag("--server-side", url), &loading);
    context.progress().say(&run_line("import", loading.run));

    // Until the server has cancelled the job, the table may be offline.
    context.set_grace(CANCEL_MAX);
    let settle =
        format!("interrupted: the server may still be at its job; to find out and complete it run `{again}`");
    context.if_cut_off(Failure::new(Exit::Unknown, "unknown", hidden(settle, url)));
    let started = Instant::now();
    let mut counting = context.progress().towards(WHOLE, "row");
    let mut way = None;
    let imported = bank.import_on_server(&long, url, &loading, |step| {
        let taken = way_of(&step);
        if taken.is_some() && taken != way {
            way = taken;
            counting.say(way.unwrap_or_default());
        }
        tell(&mut counting, &step);
    });
    let imported = imported.await;
    drop(counting);

    let (imported, failure) = match imported {
        Ok(imported) => (imported, context.interruption(format!("to complete it run `{again}`"))),
        Err((error, imported)) => (imported, Some(failed(&error, &again))),
    };
    let hide = |failure: Failure| Failure { line: hidden(failure.line, url), ..failure };
    let retries = bank.counts().retries + long.counts().retries;
    let keys = keys(imported, retries, started.elapsed().as_secs_f64(), loading.run);
    let text = text(&keys, &args.rows);
    Ok(Answer::new(keys, text).with_failure(failure.map(hide)))
}

/// The longest wait for a job to be cancelled.
const CANCEL_MAX: Duration = Duration::from_secs(60);

/// The length of the progress bar.
const WHOLE: u64 = 1000;

/// Whether the table is offline, once that is known.
fn way_of(step: &Step) -> Option<&'static str> {
    match step {
        Step::Offline(_) => Some("IMPORT INTO accounts: the table is offline until it ends"),
        Step::Adding { .. } => Some(
            "IMPORT INTO accounts is not for this: the accounts are added in chunks, and the table stays online",
        ),
        Step::Waiting(_) | Step::Reading(_) | Step::Checking | Step::Refused(_) | Step::Validating => None,
    }
}

fn tell(counting: &mut Counting, step: &Step) {
    let (what, done) = match *step {
        Step::Waiting(done) => ("waiting for another import into accounts", done),
        Step::Reading(done) => ("the server reads the file to a table of its own", done),
        Step::Checking => ("looking at its accounts", 1.0),
        Step::Offline(done) => ("the server reads the file into accounts, which is offline", done),
        Step::Refused(ref reason) => {
            return counting.say(&format!("the server does not IMPORT INTO accounts: {reason}"));
        }
        Step::Validating => ("validating the constraints of accounts and transfers", 1.0),
        Step::Adding { imported, of } => {
            let done = imported.rows + imported.found + imported.present;
            return counting.at(
                format!("adding accounts, {} of {}", grouped(done), grouped(of)),
                done * WHOLE / of.max(1),
            );
        }
    };
    counting.at(what.to_owned(), (done * WHOLE as f64) as u64);
}

fn failed(error: &ServerSideError, again: &str) -> Failure {
    let fail = |kind, remedy: &str| Failure::new(Exit::Failed, kind, format!("{error}; {remedy}"));
    let mend = format!("nothing is changed: mend the file, then run `{again}`");
    match error {
        ServerSideError::Unsupported(_) => Failure::usage(format!(
            "{error}: give the file itself, as in `{}`",
            CommandLine::new("import").argument("accounts.csv")
        )),
        ServerSideError::Header(reason) => Failure::usage(format!("the file cannot be imported: {reason}")),
        ServerSideError::Rejected(_) => fail("rejected", &mend),
        ServerSideError::Job(JobError::Refused(refused))
            if matches!(database::sqlstate(refused).as_deref(), Some("42501" | "57000")) =>
        {
            failure::of_database(refused)
        }
        ServerSideError::Job(JobError::Refused(_) | JobError::Ended { .. }) => {
            fail("job_failed", &format!("nothing is changed: mend the file or its URL, then run `{again}`"))
        }
        ServerSideError::Job(JobError::Lost | JobError::Unwatched(_)) => Failure::new(
            Exit::Unknown,
            "unknown",
            format!("{error}: it may go on; to find out and complete it run `{again}`"),
        ),
        ServerSideError::Read(error) => load::with_completion(failure::reading(error), again),
        ServerSideError::Load(error) => load::with_completion(failure::loading(error, again), again),
        ServerSideError::Changed(_) => fail(
            "changed",
            &format!(
                "the file or the accounts have changed meanwhile, and what was read last is there: look at it with `{}`",
                CommandLine::new("audit")
            ),
        ),
    }
}

/// Hides the URL's query, which may contain a cloud's keys.
fn hidden(line: String, url: &str) -> String {
    match url.split_once('?') {
        Some((_, query)) if !query.is_empty() => line.replace(query, "…"),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_keys_of_a_cloud_are_not_told() {
        let url = "s3://bucket/a.csv?AWS_SECRET_ACCESS_KEY=secret";
        let line = format!("{url}: no such file; run `import --server-side '{url}'`");
        let told = super::hidden(line, url);
        assert_eq!(
            told,
            "s3://bucket/a.csv?…: no such file; run `import --server-side 's3://bucket/a.csv?…'`"
        );
    }
}
