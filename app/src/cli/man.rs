//! `man`: man pages, one for each command.

use std::path::PathBuf;

use clap::CommandFactory;
use serde_json::json;
use terminal::{Exit, Failure};

use super::answer::Answer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write to; it is created if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run<C: CommandFactory>(args: &Args) -> Result<Answer, Failure> {
    let folder = &args.folder;
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(C::command(), folder));
    written.map_err(|error| {
        let line = format!("cannot write man pages to {}: {error}: give another folder", folder.display());
        Failure::new(Exit::Failed, "unwritable", line)
    })?;
    let text = format!("Wrote the man pages to {}: man -l {0}/seabank.1", folder.display());
    Ok(Answer::new(json!({ "folder": folder }), text))
}
