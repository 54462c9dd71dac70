//! A disk that fails under one program: a file in C (`disk.c`), compiled for the run and preloaded. On Linux.
//!
//! SQLite is built into `seabank` and reaches the disk by calls of the C library, and those can be stood in for. Nothing
//! of it touches the file system itself, so it needs no rights and disturbs no other test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::TestDatabase;
use crate::binaries::folder;

/// What the disk does to the files of one SQLite database, as variables of a program's environment.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    file: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl FaultyDisk {
    /// A sound disk under a database.
    #[must_use]
    pub fn of(test: &TestDatabase) -> Self {
        let file = fs::canonicalize(test.file()).expect("the database has a file");
        Self { file, variables: Vec::new() }
    }

    /// So many calls of `fsync` fail with EIO, from the `first` on (the first of all is 1); `None` for all of them.
    #[must_use]
    pub fn failing_to_sync(self, first: u32, count: Option<u32>) -> Self {
        self.with("FAULTY_DISK_SYNC", format!("{first}:{}", count.unwrap_or(0)))
    }

    /// The files may grow by so many bytes together; then the disk is full.
    #[must_use]
    pub fn with_room(self, bytes: u64) -> Self {
        self.with("FAULTY_DISK_ROOM", bytes.to_string())
    }

    /// What would be left of each file by a power cut is kept, for [`after_a_power_cut`](Self::after_a_power_cut).
    #[must_use]
    pub fn keeping_what_is_durable(self) -> Self {
        self.with("FAULTY_DISK_DURABLE", "1".to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Puts a program on this disk.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAULTY_DISK", &self.file);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// Puts in place of the database's files what a power cut would have left of them. No program may have them open.
    ///
    /// # Panics
    ///
    /// Where the files cannot be moved.
    pub fn after_a_power_cut(&self) {
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", self.file.display()));
        for (name, durable) in
            [("", ".durable"), ("-wal", "-wal.durable")].map(|(name, kept)| (beside(name), beside(kept)))
        {
            // The file itself was durable before, even where nothing has synced it since.
            match (durable.exists(), name == self.file) {
                (true, _) => fs::rename(durable, name).expect("the copy can be moved"),
                (false, true) => {}
                (false, false) => remove(&name),
            }
        }
        // An index of the log, rebuilt from it.
        remove(&beside("-shm"));
    }
}

fn remove(file: &Path) {
    if file.exists() {
        fs::remove_file(file).expect("the file can be removed");
    }
}

/// The compiled file, beside the program that it goes under. The compiler is the one that Rust links with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/disk.c");
        let fresh = folder().join(format!("faulty_disk.{}", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source);
        let compiled = compiler.args(["-ldl", "-lpthread"]).status().expect("there is a C compiler");
        assert!(compiled.success(), "disk.c cannot be compiled");
        // At once, for another run may be using it.
        let library = folder().join("faulty_disk.so");
        fs::rename(fresh, &library).expect("it can be renamed");
        library
    })
}
