//! Disk faults for one program, on Linux: a C library (`disk.c`), compiled for the run and
//! preloaded.
//!
//! SQLite is built into `seabank` and calls the C library for all I/O, which can be intercepted.
//! The file system is not touched, so other tests are not disturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::TestDatabase;
use crate::binaries::folder;

/// The faults of a SQLite database's files, as environment variables.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    file: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl FaultyDisk {
    /// A disk without faults.
    #[must_use]
    pub fn of(test: &TestDatabase) -> Self {
        let file = fs::canonicalize(test.file()).expect("the database has a file");
        Self { file, variables: Vec::new() }
    }

    /// From the `first` call of `fsync` on (counted from 1), `count` calls fail with EIO; without
    /// `count`, all.
    #[must_use]
    pub fn failing_to_sync(self, first: u32, count: Option<u32>) -> Self {
        self.with("FAULTY_DISK_SYNC", format!("{first}:{}", count.unwrap_or(0)))
    }

    /// The disk is full after the files have grown by this many bytes.
    #[must_use]
    pub fn with_room(self, bytes: u64) -> Self {
        self.with("FAULTY_DISK_ROOM", bytes.to_string())
    }

    /// Records what a power cut would leave, for [`after_a_power_cut`](Self::after_a_power_cut).
    #[must_use]
    pub fn keeping_what_is_durable(self) -> Self {
        self.with("FAULTY_DISK_DURABLE", "1".to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Runs a command on this disk.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAULTY_DISK", &self.file);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// Replaces the files by what a power cut would leave. No program may have them open.
    pub fn after_a_power_cut(&self) {
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", self.file.display()));
        for (name, durable) in
            [("", ".durable"), ("-wal", "-wal.durable")].map(|(name, kept)| (beside(name), beside(kept)))
        {
            // The file itself was durable before.
            match (durable.exists(), name == self.file) {
                (true, _) => fs::rename(durable, name).expect("the copy can be moved"),
                (false, true) => {}
                (false, false) => remove(&name),
            }
        }
        // The shared-memory file is rebuilt from the log.
        remove(&beside("-shm"));
    }
}

fn remove(file: &Path) {
    if file.exists() {
        fs::remove_file(file).expect("the file can be removed");
    }
}

/// The compiled library, next to the binaries. Uses the compiler that Rust links with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/disk.c");
        let fresh = folder().join(format!("faulty_disk.{}", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source);
        let compiled = compiler.args(["-ldl", "-lpthread"]).status().expect("there is a C compiler");
        assert!(compiled.success(), "disk.c cannot be compiled");
        // Atomically: another run may be using it.
        let library = folder().join("faulty_disk.so");
        fs::rename(fresh, &library).expect("it can be renamed");
        library
    })
}
