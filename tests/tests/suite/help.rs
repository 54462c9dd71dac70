//! Help, versions, man pages, and colours.

use std::fs;
use std::process::Command;

use database::Server;
use tests::{Test, TestServer, command, tests};

use crate::files::Folder;

pub(crate) fn tests() -> Vec<Test> {
    let on = &[Server::Sqlite];
    tests![
        the_version_names_the_commit on on,
        a_man_page_is_written_for_each_command on on,
        colours_are_for_terminals_and_whoever_asks on on,
        the_migrators_examples_are_right on on,
        the_longest_help_fits_a_screen on on,
    ]
}

const PROGRAMS: [&str; 2] = ["seabank", "migration"];

/// Standard output of a successful program.
fn output(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn the_longest_help_fits_a_screen(_: &TestServer) {
    let help = output(command("seabank").args(["workload", "-h"]));
    assert!(help.lines().count() <= 50, "{} lines:\n{help}", help.lines().count());
}

async fn the_version_names_the_commit(_: &TestServer) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let head = Command::new("git").args(["-C", root, "rev-parse", "--short", "HEAD"]).output();
    let head =
        head.ok().filter(|it| it.status.success()).map(|it| String::from_utf8(it.stdout).expect("text"));
    let commit = head.map(|head| format!(" ({})", head.trim())).unwrap_or_default();
    for program in PROGRAMS {
        let expected = format!("{program} {}{commit}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(output(command(program).arg("--version")), expected);
    }
}

async fn a_man_page_is_written_for_each_command(_: &TestServer) {
    let folder = Folder::new();
    let pages = folder.path("new/man1");
    output(command("seabank").arg("man").arg(&pages));
    let help = output(command("seabank").arg("help"));
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let page = fs::read_to_string(pages.join(format!("seabank-{name}.1"))).expect(name);
        assert!(page.contains(".SH OPTIONS") && page.contains("seabank"), "{name}: {page}");
    }
    let file = folder.write("file", "x");
    let refused = command("seabank").arg("man").arg(&file).output().expect("it runs");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("give another folder"), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "x");
}

async fn colours_are_for_terminals_and_whoever_asks(_: &TestServer) {
    for program in PROGRAMS {
        for (arguments, environment, coloured) in [
            (&["--help"][..], None, false),
            (&["--help"], Some(("NO_COLOR", "1")), false),
            (&["--help"], Some(("CLICOLOR_FORCE", "1")), true),
            (&["--help", "--color", "always"], None, true),
            (&["--color=never", "--help"], Some(("CLICOLOR_FORCE", "1")), false),
        ] {
            let mut command = command(program);
            command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
            command.args(arguments).envs(environment);
            assert_eq!(output(&mut command).contains('\x1b'), coloured, "{command:?}");
        }
        let refused = command(program).args(["--color", "pink", "up"]).output().expect("it runs");
        assert_eq!(refused.status.code(), Some(2));
    }
}

/// Each is run up to the point where it would connect.
async fn the_migrators_examples_are_right(_: &TestServer) {
    let help = output(command("migration").arg("--help"));
    let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  migration ")).collect();
    assert!(examples.len() > 2, "{help}");
    for example in examples {
        let line = format!("\"$0\" {example} --help");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).arg(command("migration").get_program());
        output(&mut shell);
    }
}
