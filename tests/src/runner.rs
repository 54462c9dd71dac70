//! Runs every test on every available server, and lists the servers and tools.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a run of tests reports by printing")]

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::num::NonZero;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::database::Server;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::RwLock;

use crate::children::Children;
use crate::found::short;
use crate::slowest::Slowest;
use crate::{Browser, Found, PgBouncer, TestServer, binaries, limit};

/// Every server there is.
pub const EVERY: &[Server] = &[Server::Sqlite, Server::Postgres, Server::Cockroach];

/// A test's body, for one server.
pub type Body = for<'a> fn(&'a TestServer) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A test.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// A sentence in snake_case: what holds.
    pub name: &'static str,
    /// Where it is tried.
    pub on: &'static [Server],
    /// Whether it runs alone, because it measures time.
    pub alone: bool,
    /// Its time limit.
    pub limit: Duration,
    /// What is done.
    pub body: Body,
}

/// The time for servers still in use to stop.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Runs all suites, with the arguments of Cargo's harness. A test is named `server::suite::test`;
/// `server` includes the version if there are several of a kind.
#[must_use]
pub fn run(suites: &[(&str, Vec<Test>)]) -> ExitCode {
    run_on(EVERY, suites)
}

/// The same, on these servers.
#[must_use]
pub fn run_on(servers: &[Server], suites: &[(&str, Vec<Test>)]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Many tests wait for deadlines, so more run than there are cores.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(cores + 2);
    let runtime = Runtime::new().expect("a runtime can be had");
    let coverage = match Coverage::find(servers) {
        Ok(coverage) => coverage,
        Err(line) => return fail(&line),
    };
    if arguments.list {
        let servers: Vec<_> = coverage.found.iter().map(|it| (it.clone(), None)).collect();
        let trials = trials(&servers, suites, runtime.handle(), &Slowest::default());
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    // Builds before the first test's time limit starts.
    binaries::folder();
    // This thread starts the servers.
    let processes = Children::of_this_thread();
    let servers = match runtime.block_on(start(&coverage)) {
        Ok(servers) => servers,
        Err(line) => return fail(&line),
    };
    let text = coverage.text(&servers);
    println!("{text}");
    let slowest = Slowest::default();
    let conclusion = {
        let found = coverage.found.iter().cloned();
        let servers: Vec<_> = found.zip(servers.iter().cloned().map(Some)).collect();
        libtest_mimic::run(&arguments, trials(&servers, suites, runtime.handle(), &slowest))
    };
    println!("{}\n{text}", slowest.text());
    let mut in_use = false;
    // First the databases being dropped, then the servers.
    for server in servers {
        match Arc::try_unwrap(server) {
            Ok(server) => runtime.block_on(server.stop()),
            // By an abandoned thread.
            Err(_) => in_use = true,
        }
    }
    if in_use {
        processes.end("QUIT", STOP_MAX);
    }
    // Does not wait for an abandoned thread.
    runtime.shutdown_background();
    conclusion.exit_code()
}

fn fail(line: &str) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::FAILURE
}

struct Coverage {
    found: Vec<Found>,
    missing: Vec<(Server, &'static str)>,
    missing_tools: Vec<Tool>,
}

/// A program that some tests need.
#[derive(Clone, Copy)]
struct Tool {
    /// Its name in `TEST_REQUIRE`.
    name: &'static str,
    remedy: &'static str,
    is_there: fn() -> bool,
}

const TOOLS: [Tool; 2] = [
    Tool { name: "browser", remedy: Browser::REMEDY, is_there: || Browser::find().is_some() },
    Tool { name: "pgbouncer", remedy: PgBouncer::REMEDY, is_there: || PgBouncer::find().is_some() },
];

impl Coverage {
    /// Finds the tools. Fails if one in `TEST_REQUIRE` is missing.
    fn find(servers: &[Server]) -> Result<Self, String> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for server in servers {
            match Found::all(*server) {
                Ok(all) => found.extend(all),
                Err(remedy) => missing.push((*server, remedy)),
            }
        }
        let required = std::env::var("TEST_REQUIRE").unwrap_or_default();
        let missing_tools: Vec<Tool> = TOOLS.into_iter().filter(|tool| !(tool.is_there)()).collect();
        for name in required.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if TOOLS.iter().any(|tool| tool.name == name) {
                if let Some(tool) = missing_tools.iter().find(|tool| tool.name == name) {
                    return Err(format!("TEST_REQUIRE asks for {name}, which is not here: {}", tool.remedy));
                }
                continue;
            }
            let Some(server) = servers.iter().find(|it| short(**it) == name) else {
                return Err(format!(
                    "TEST_REQUIRE names {name}: it knows sqlite, postgres, cockroachdb, {}",
                    TOOLS.map(|tool| tool.name).join(", ")
                ));
            };
            if let Some((_, remedy)) = missing.iter().find(|(it, _)| it == server) {
                return Err(format!("TEST_REQUIRE asks for {server}, which is not here: {remedy}"));
            }
        }
        Ok(Self { found, missing, missing_tools })
    }

    fn text(&self, servers: &[Arc<TestServer>]) -> String {
        let mut text = String::from("servers:");
        for server in servers {
            let _ = write!(text, "\n  {:<18} {}", server.to_string(), server.version);
        }
        for (server, remedy) in &self.missing {
            let _ = write!(text, "\n  {:<18} NOT COVERED: {remedy}", server.to_string());
        }
        for Tool { name, remedy, .. } in &self.missing_tools {
            let _ = write!(text, "\n  {name:<18} NOT COVERED: {remedy}");
        }
        text
    }
}

async fn start(coverage: &Coverage) -> Result<Vec<Arc<TestServer>>, String> {
    let mut servers = Vec::new();
    for found in &coverage.found {
        servers.push(Arc::new(TestServer::start(found).await.map_err(|error| error.to_string())?));
    }
    Ok(servers)
}

fn trials(
    servers: &[(Found, Option<Arc<TestServer>>)],
    suites: &[(&str, Vec<Test>)],
    runtime: &Handle,
    slowest: &Slowest,
) -> Vec<Trial> {
    // Exclusive for a test that runs alone.
    let floor = Arc::new(RwLock::new(()));
    // The tests that may take longest start first, so that they do not end the run on their own; those
    // that run alone come last, so that the others wait for each other once.
    let mut in_order: Vec<_> =
        suites.iter().flat_map(|(suite, tests)| tests.iter().map(move |it| (suite, it))).collect();
    in_order.sort_by_key(|(_, test)| (test.alone, Reverse(test.limit)));
    let mut trials = Vec::new();
    for (suite, test) in in_order {
        for (found, started) in servers.iter().filter(|(found, _)| test.on.contains(&found.server)) {
            let (started, runtime, floor) = (started.clone(), runtime.clone(), Arc::clone(&floor));
            let slowest = slowest.clone();
            let Test { body, alone, limit, .. } = *test;
            let name = format!("{}::{suite}::{}", found.name(), test.name);
            trials.push(Trial::test(name.clone(), move || {
                let server = started.ok_or_else(|| Failed::from("only listed"))?;
                let test = || {
                    slowest.time(&name, || {
                        limit::run(&name, limit, &runtime, async move { body(&server).await })
                    })
                };
                if alone {
                    let _floor = runtime.block_on(floor.write());
                    test()
                } else {
                    let _floor = runtime.block_on(floor.read());
                    test()
                }
            }));
        }
    }
    trials
}
