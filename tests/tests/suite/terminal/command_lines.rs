//! Command lines in messages.

use super::*;

/// The last text between backquotes.
fn command_in(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    errors.rsplit('`').nth(1).unwrap_or_else(|| panic!("a command in {errors}")).to_owned()
}

/// The given flags are in it, quoted.
pub(super) async fn a_command_line_can_be_pasted(server: &TestServer) {
    let (test, folder) = (server.database().await, Folder::new());
    let text = accounts(25) + "26,x\n";
    let file = folder.write("it's $HOME; `more`.csv", &text);
    let flags = ["--chunk", "10", "--concurrency", "2", "--retry-for", "2m", "--database-url", test.url()];
    let mut importing = bare("seabank", &folder.path(""));
    let output = importing.arg("import").arg(&file).args(flags).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = errors.lines().last().expect("a line").split_once("then run `").expect("a command").1;
    let command = line.strip_suffix('`').expect("it ends there");
    for flag in ["--chunk 10", "--concurrency 2", "--retry-for 2m", "--database-url", "--run "] {
        assert!(command.contains(flag), "{flag} in {command}");
    }
    fs::write(&file, text.replace("26,x", "26,260")).expect("it can be written");
    let mut shell = paste(&test, command);
    let again = shell.env_remove("DATABASE_URL").output().expect("it runs");
    assert!(again.status.success(), "{again:?}");
    assert_eq!(scalar(&test.connect().await, "SELECT count(*) FROM accounts").await, 26);

    // The command migrates a missing schema.
    let empty = server.empty_database().await;
    let audit = || bare("seabank", &folder.path("")).args(["audit", "--database-url", empty.url()]).output();
    let output = audit().expect("it runs");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let migrated = paste(&empty, &command_in(&output)).env_remove("DATABASE_URL").output().expect("it runs");
    assert!(migrated.status.success(), "{migrated:?}");
    assert!(audit().expect("it runs").status.success());
}

pub(super) async fn a_password_is_left_out_of_a_command_line(server: &TestServer) {
    let test = server.empty_database().await;
    let url = test.url().replacen("postgres@", "postgres:s3cret@", 1);
    assert!(url != test.url(), "{url}");
    let output = bare("seabank", &std::env::temp_dir()).args(["audit", "--database-url", &url]).output();
    let output = output.expect("it runs");
    let command = command_in(&output);
    assert!(command.contains("--database-url") && command.contains(":***@"), "{command}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
    let output = paste(&test, &command.replace("***", "s3cret")).env_remove("DATABASE_URL").output();
    assert!(output.expect("it runs").status.success(), "{command}");
}

pub(super) async fn the_program_is_called_as_it_was(server: &TestServer) {
    let test = server.empty_database().await;
    let said = |command: &mut Command| command_in(&command.output().expect("it runs"));
    let mut direct = test.program("seabank");
    let path = direct.get_program().to_string_lossy().into_owned();
    assert_eq!(said(direct.arg("audit")), format!("{path} migrate up"));
    let by_cargo = said(test.program("seabank").arg("audit").env("CARGO_PKG_NAME", "app"));
    assert_eq!(by_cargo.replace(" --release", ""), "cargo run -p app -- migrate up");
    // Found on PATH.
    let folder = Path::new(&path).parent().expect("a folder").display().to_string();
    let search = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let installed = paste(&test, "seabank audit").env("PATH", search).output().expect("it runs");
    assert_eq!(command_in(&installed), "seabank migrate up");
}
