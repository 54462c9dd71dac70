//! `workload`: loads the bank with transfers, measures them, and audits the bank meanwhile.

mod answer;
mod args;
mod lines;
mod report;
mod timeline;

use std::cell::RefCell;

use terminal::Failure;

use super::answer::Answer;
use super::context::Context;
use super::output::Output;
use super::progress::run_line;
use super::{audit, failure};
use crate::bank::workload::{IntervalReport, Workload};
use answer::{Keys, failed};
use lines::{HistogramLog, Lines};
use report::{Page, settings};
use timeline::Timeline;

pub(super) use args::Args;

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let address = context.address()?;
    // First: if connections are few, the auditor gets one of them.
    let auditor = context.bank_for_analysis().await?;
    let database = context.connect_to_write(args.concurrency).await?;
    let bank = context.migrated_bank(&database).await?;
    audit::check_as_of(&bank, "--audit-as-of", args.audit_as_of).await?;
    let load = args.workload(bank.server())?;
    let (mut histogram, report) = outputs(context, args).await?;
    context.progress().say(&run_line("workload", load.run));

    let spinner = context.progress().spinner(LOADING);
    let lines = RefCell::new(Lines::new(context.progress()));
    let timeline = RefCell::new(Timeline::new());
    let record = |interval: IntervalReport<'_>| {
        spinner.now(phase(&interval, &load));
        lines.borrow_mut().tell(interval);
        if let Some(histogram) = &mut histogram {
            histogram.write(interval);
        }
        if report.is_some() {
            timeline.borrow_mut().record(interval);
        }
    };
    let stop = context.interrupted().clone();
    let ended = bank.load(&auditor, load.clone(), args.display_every, stop, record).await;
    let ended = ended.map_err(|error| failure::drawing(&error))?;
    let unwritten = histogram.and_then(HistogramLog::finish);

    let keys = Keys::of(&ended, &load);
    let text = keys.text(&ended, lines.into_inner());
    let failure =
        failed(&ended, args).or(unwritten).or_else(|| context.interruption("the totals are those so far"));
    let answer = Answer::new(keys, text);
    let unwritten = report.and_then(|output| {
        spinner.now("writing the report");
        let page = Page {
            keys: &answer.keys(),
            total: &ended.total,
            timeline: &timeline.into_inner(),
            settings: &settings(&address, &load),
            audit: ended.audit.as_ref().and_then(|audit| audit.as_ref().ok()),
            version: &database.version,
            failure: failure.as_ref(),
        };
        page.write(output)
    });
    Ok(answer.with_failure(failure.or(unwritten)))
}

/// Creates the files of --histogram and --report.
async fn outputs(context: &Context, args: &Args) -> Result<(Option<HistogramLog>, Option<Output>), Failure> {
    let (log, page) = (args.histogram.clone(), args.report.clone());
    let create = move || {
        let log = log.as_deref().map(HistogramLog::create).transpose()?;
        Ok((log, page.as_deref().map(|path| Output::create(path, report::FLAG)).transpose()?))
    };
    context.blocking(create).await
}

/// Until the first interval ends, connections may still open.
const LOADING: &str = "loading the bank";

/// What comes after an interval.
fn phase(interval: &IntervalReport<'_>, load: &Workload) -> &'static str {
    if interval.is_last {
        "auditing"
    } else if load.duration.is_some_and(|duration| interval.elapsed >= duration) {
        "finishing the last transfers"
    } else {
        LOADING
    }
}
