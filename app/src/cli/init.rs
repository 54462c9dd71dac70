//! `init`: an administrator creates the database and its user.

mod password;

use database::Options;
use serde::Serialize;
use terminal::{CommandLine, Exit, Failure, interrupted, wrapped};

use super::answer::Answer;
use super::context::Context;
use super::failure;
use crate::setup::{self, Created, Name, PasswordSet, SetupError, Wanted};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database to create
    #[arg(long, value_name = "NAME", default_value = "bank", value_parser = Name::parse_database)]
    database: Name,

    /// The user to create
    #[arg(long, value_name = "NAME", default_value = "bank", value_parser = Name::parse_user)]
    user: Name,

    /// Set no password [default: ask, or take BANK_PASSWORD]
    #[arg(long)]
    no_password: bool,
}

#[derive(Debug, Serialize)]
struct Keys {
    database: String,
    user: String,
    #[serde(flatten)]
    created: Created,
    url: String,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Answer, Failure> {
    let address = context.address()?;
    if address.is_file() {
        return Err(Failure::usage(
            "SQLite has no databases or users to create: give the --database-url of an administrator of CockroachDB or PostgreSQL",
        ));
    }
    let admin = context.connect_to_write(1).await?;
    let password = context.or_interrupted(password::ask(args.user.as_str(), args.no_password)).await?;
    let wanted = Wanted { database: args.database.clone(), user: args.user.clone(), password };
    let (database, user) = (wanted.database.as_str(), wanted.user.as_str());
    context.if_cut_off(interrupted("what was created stays; run it again to continue"));
    let created = setup::create(&admin, &wanted).await.map_err(refused)?;
    let there = address.with_database(database);
    let there = context.connect_with(&there, &Options { max_connections: 1, ..Options::default() }).await?;
    setup::grant(&there, &wanted).await.map_err(refused)?;

    let url = address.shown_for(user, database);
    let password = match created.password {
        PasswordSet::Set => "the password is set".to_owned(),
        PasswordSet::NotGiven => "no password was given, so none is set or changed".to_owned(),
        PasswordSet::Insecure => {
            format!("no password: an insecure {} checks none", admin.server)
        }
    };
    let lines = [
        format!("Database {database}: {}.", made(created.database_created)),
        format!("User {user}: {}; {password}.", made(created.user_created)),
        format!(
            "Rights: {user} may create tables there, and read and write all tables, including future ones."
        ),
        "Next, as that user:".to_owned(),
    ];
    let next = CommandLine::migrate("up").flag("--database-url", &url);
    let text = format!("{}\n{next}", lines.map(|line| wrapped(&line, 2)).join("\n"));
    Ok(Answer::new(Keys { database: database.to_owned(), user: user.to_owned(), created, url }, text))
}

fn made(new: bool) -> &'static str {
    if new { "created" } else { "was there" }
}

fn refused(error: SetupError) -> Failure {
    match error {
        SetupError::Database(error) => failure::of_database(&error),
        denied @ SetupError::Denied { .. } => Failure::new(Exit::Failed, "denied", denied.to_string()),
    }
}
