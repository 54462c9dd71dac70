//! `completions`: a script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use super::answer::Answer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn run<C: CommandFactory>(args: &Args) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "seabank", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::new(json!({ "script": &script }), script)
}
