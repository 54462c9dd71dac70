//! A file `.env`.

use std::os::unix::fs::symlink;

use super::*;

pub(super) async fn a_bad_env_file_is_named_with_its_line(_: &TestServer) {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("project/deep")).expect("it can be made");
    let (file, deep) = (folder.path("project/.env"), folder.path("project/deep"));
    for (text, line) in [
        ("DATABASE_URL=postgres://bank:pa$s3cret@127.0.0.1:1/bank\n", "line 1"),
        ("# a comment\n\nDATABASE_URL=\"postgres://bank:pa$s3cret@127.0.0.1:1/bank\"\n", "line 3"),
        ("A=1\nDATABASE_URL=postgres://bank:${s3cret}@127.0.0.1:1/bank\n", "line 2"),
        ("A=1\nDATABASE_URL=postgres://bank:s3cret @127.0.0.1:1/bank\n", "line 2"),
        ("A=1\nB=2\nDATABASE_URL postgres://bank:s3cret@127.0.0.1:1/bank\n", "line 3"),
        ("A='open\nDATABASE_URL=postgres://bank:s3cret@127.0.0.1:1/bank\n", "line 1"),
    ] {
        fs::write(&file, text).expect("it can be written");
        for (program, arguments) in [("seabank", ["audit"]), ("migration", ["status"])] {
            let output = bare(program, &deep).args(arguments).output().expect("it runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            let named = format!("error: {}, {line}: ", file.display());
            assert!(output.status.code() == Some(2) && errors.contains(&named), "{text}: {errors}");
            assert!(!errors.contains("s3cret") && errors.lines().count() == 1, "{errors}");
        }
    }
    // Single quotes keep the password; there is no server.
    fs::write(&file, "DATABASE_URL='postgres://bank:pa$s3cret@127.0.0.1:1/bank'\n")
        .expect("it can be written");
    let output = bare("seabank", &deep).arg("audit").output().expect("it runs");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    // Even root cannot read this file.
    fs::remove_file(&file).expect("it is there");
    symlink("/proc/self/mem", &file).expect("a link can be made");
    let output = bare("seabank", &deep).arg("audit").output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let named = format!("error: {} cannot be read: ", file.display());
    assert!(output.status.code() == Some(2) && errors.contains(&named), "{errors}");
}

pub(super) async fn help_and_the_version_come_before_a_bad_env_file(_: &TestServer) {
    let folder = Folder::new();
    folder.write(".env", "no variable\n");
    for (program, arguments) in [
        ("seabank", &["--help"][..]),
        ("seabank", &["-V"]),
        ("seabank", &["seed", "--help"]),
        ("seabank", &["help", "seed"]),
        ("seabank", &["completions", "bash"]),
        ("migration", &["--help"]),
        ("migration", &["--version"]),
    ] {
        let output = bare(program, &folder.path("")).args(arguments).output().expect("it runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{program} {arguments:?}: {output:?}");
    }
}
