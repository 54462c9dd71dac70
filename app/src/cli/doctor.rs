//! `doctor`: whether a database is fit for the bank, and what to do where it is not.

use database::Options;
use serde_json::json;
use terminal::{Exit, Failure};

use super::answer::Answer;
use super::context::Context;
use crate::doctor::{self, Finding, Patient, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many processors the server has, all nodes together; without this it is asked, as far as it answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    server_cores: Option<u32>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let address = context.address()?;
    let connections = context.pool().unwrap_or(Options::default().max_connections);
    // Two at least: there is no conflict with fewer.
    let options = Options { max_connections: connections.max(2), ..Options::default() };
    let database = match context.connect_with(&address, &options).await {
        Ok(database) => database,
        Err(failure) if failure.exit == Exit::NoDatabase => {
            let finding = doctor::no_connection(&failure.line);
            context.step(&line(&finding));
            return Ok(answer(&[finding]).but(Some(failure)));
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
    context.or_interrupted(examination).await?;
    Ok(answer(&findings).but(failure(&findings)))
}

/// The findings as they are, and how many of each.
fn answer(findings: &[Finding]) -> Answer {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
    Answer::new(
        json!({ "checks": findings, "ok": ok, "warn": warn, "fail": fail }),
        format!("{ok} ok, {warn} to look at, {fail} failed."),
    )
}

fn failure(findings: &[Finding]) -> Option<Failure> {
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).collect();
    let names: Vec<&str> = failed.iter().map(|finding| finding.check).collect();
    let line = format!("not fit for the bank ({}): {}", names.join(", "), failed.first()?.remedy.as_deref()?);
    Some(match names[..] {
        ["migrations"] => Failure::new(Exit::NoDatabase, "not_migrated", line),
        _ => Failure::new(Exit::Failed, "unfit", line),
    })
}

/// One finding for people; what to do stands below it.
fn line(finding: &Finding) -> String {
    let Finding { check, verdict, found, remedy, .. } = finding;
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    let what_to_do = remedy.as_ref().map(|remedy| format!("\n{:18}→ {remedy}", "")).unwrap_or_default();
    format!("{verdict:<4}  {check:<10}  {found}{what_to_do}")
}
