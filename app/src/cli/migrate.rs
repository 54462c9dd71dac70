//! `migrate`: the commands of the program `migration`.

use migration::cli::{Flags, Outcome, Schema};
use serde_json::{Value, json};
use terminal::Failure;

use super::answer::Answer;
use super::context::Context;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,

    #[command(subcommand)]
    command: Schema,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    // `fresh` asks a question.
    let asks = matches!(args.command, Schema::Fresh);
    let spinner = (!asks).then(|| context.progress().spinner("working on the schema"));
    let outcome = args.command.carry_out(&context.address()?, &args.flags, context.interrupted()).await?;
    drop(spinner);
    Ok(Answer::new(keys(&outcome), outcome.to_string()))
}

fn keys(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Changed(_, report) => json!({
            "applied": report.applied,
            "rolled_back": report.rolled_back,
            "dropped": report.dropped,
        }),
        Outcome::Status(status) => {
            let one = |(name, applied): &(String, bool)| json!({ "name": name, "applied": applied });
            json!({ "migrations": status.iter().map(one).collect::<Vec<_>>() })
        }
    }
}
