//! `doctor`: checks whether a database is ready for the bank.

use std::path::{Path, PathBuf};

use database::{Address, Options};
use serde_json::json;
use tempfile::TempDir;
use terminal::{Exit, Failure, Unfinished, counted, wrapped};

use super::answer::Answer;
use super::context::Context;
use crate::doctor::{self, Finding, Patient, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's processors, all nodes together [default: what the server says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    server_cores: Option<u32>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let address = context.address()?;
    let stand_in = StandIn::of(&address).transpose()?;
    let connections = context.pool().unwrap_or(Options::default().max_connections);
    // A conflict needs two.
    let options = Options { max_connections: connections.max(2), internals: true, ..Options::default() };
    let connected = context.connect_with(stand_in.as_ref().map_or(&address, |it| &it.address), &options);
    let database = match connected.await {
        Ok(database) => database,
        Err(failure) if failure.exit == Exit::NoDatabase => {
            let finding = doctor::no_connection(&failure.line);
            context.step(&line(&finding));
            return Ok(answer(&[finding]).with_failure(Some(failure)));
        }
        Err(failure) => return Err(failure),
    };
    let patient =
        Patient { address, database, connections, server_cores: args.server_cores, policy: context.policy() };
    let mut findings = Vec::new();
    let examination = async {
        doctor::examine(&patient, |finding| {
            context.step(&line(&finding));
            findings.push(finding);
        })
        .await;
        Ok::<_, Failure>(())
    };
    let examined = context.or_interrupted(examination).await;
    // Before the stand-in's folder is removed.
    context.close().await;
    examined?;
    let unfit = failure(&findings);
    Ok(answer(&findings).with_failure(unfit.or_else(|| context.interruption("not every check was made"))))
}

/// An empty database in place of a missing SQLite file: `doctor` must not create the file.
struct StandIn {
    address: Address,
    /// Beside the missing file; removed on drop.
    _folder: TempDir,
    _unfinished: Unfinished,
}

impl StandIn {
    /// `None` if the file exists, or on a server.
    fn of(address: &Address) -> Option<Result<Self, Failure>> {
        let path = PathBuf::from(address.database());
        if !address.is_file() || path.exists() {
            return None;
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = TempDir::with_prefix_in(".seabank-doctor-", parent).map_err(|error| {
            let line = format!("there is no file {}, and none can be created there: {error}", path.display());
            Failure::new(Exit::NoDatabase, "no_database", line)
        });
        Some(folder.map(|folder| Self {
            address: address.with_file(&folder.path().join("bank.db")),
            _unfinished: Unfinished::new(folder.path()),
            _folder: folder,
        }))
    }
}

/// One line with every failed check and its remedy.
fn failure(findings: &[Finding]) -> Option<Failure> {
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).collect();
    let parts = failed.iter().map(|finding| {
        let remedy = finding.remedy.as_ref().map(|remedy| format!(": {remedy}")).unwrap_or_default();
        format!("{}{remedy}", finding.check)
    });
    let line = format!("not ready for the bank: {}", parts.collect::<Vec<_>>().join("; "));
    match failed[..] {
        [] => None,
        [Finding { check: "migrations", .. }] => Some(Failure::new(Exit::NoDatabase, "not_migrated", line)),
        _ => Some(Failure::new(Exit::Failed, "unfit", line)),
    }
}

fn answer(findings: &[Finding]) -> Answer {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
    Answer::new(
        json!({ "checks": findings, "ok": ok, "warn": warn, "fail": fail }),
        format!("{ok} ok, {}, {fail} failed.", counted(warn as u64, "warning")),
    )
}

fn line(finding: &Finding) -> String {
    let Finding { check, verdict, found, remedy, .. } = finding;
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    let found = wrapped(&format!("{verdict:<4}  {check:<10}  {found}"), 6);
    match remedy {
        Some(remedy) => format!("{found}\n{}", wrapped(&format!("{:6}→ {remedy}", ""), 8)),
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &'static str, verdict: Verdict, remedy: Option<&str>) -> Finding {
        let remedy = remedy.map(str::to_owned);
        Finding { check, verdict, found: String::new(), remedy, milliseconds: None }
    }

    #[test]
    fn the_last_line_has_every_remedy() {
        let findings = [
            finding("tls", Verdict::Fail, Some("use verify-full")),
            finding("pool", Verdict::Warn, Some("give less")),
            finding("rights", Verdict::Fail, None),
            finding("clock", Verdict::Fail, Some("set it")),
        ];
        let failure = failure(&findings).expect("some failed");
        assert_eq!(failure.line, "not ready for the bank: tls: use verify-full; rights; clock: set it");
        assert!(super::failure(&findings[1..2]).is_none());
    }
}
