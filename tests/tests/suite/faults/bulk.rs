//! Thousands of ambiguous commits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use database::{Address, Database, Options, connect};
use futures_util::StreamExt;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm_retry::Policy;
use seabank::bank::transfer::{By, Order, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank};
use tests::{Cut, Fault, Kind, Request, TestServer};
use tokio_util::bytes::Bytes;
use uuid::Uuid;

use crate::books::{everything, execute};

/// Without `LOST_ANSWERS`. Each costs the server a session.
const TRANSFERS: u64 = 2_000;
const CONCURRENCY: usize = 16;
const ACCOUNTS: i64 = 1_000;

/// Loses the answer to each transfer's first COMMIT, and to one in sixteen later ones.
struct Losses {
    rng: ChaCha8Rng,
    writing: HashMap<u64, Bytes>,
    struck: HashSet<Bytes>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    before_sending: u64,
    after_applied: u64,
    in_reply: u64,
    of_later_attempts: u64,
}

impl Losses {
    fn new(seed: u64) -> Self {
        let (writing, struck) = (HashMap::new(), HashSet::new());
        Self { rng: ChaCha8Rng::seed_from_u64(seed), writing, struck, counts: Counts::default() }
    }

    fn at(&mut self, request: &Request) -> Option<Fault> {
        if request.kind == Kind::Execute && request.starts_with("INSERT INTO \"transfers\"") {
            let id = request.parameters.first().cloned().flatten()?;
            self.writing.insert(request.transaction, id);
            return None;
        }
        if !request.commits() {
            return None;
        }
        let is_first = self.struck.insert(self.writing.remove(&request.transaction)?);
        if !is_first {
            if !self.rng.random_ratio(1, 16) {
                return None;
            }
            self.counts.of_later_attempts += 1;
        }
        let cut = match self.rng.random_range(0..4) {
            0 | 1 => Cut::BeforeSending,
            2 => Cut::AfterApplied,
            _ => Cut::InReply,
        };
        match cut {
            Cut::BeforeSending => self.counts.before_sending += 1,
            Cut::AfterApplied => self.counts.after_applied += 1,
            Cut::InReply => self.counts.in_reply += 1,
        }
        Some(Fault::Cut(cut))
    }
}

fn draw(rng: &mut ChaCha8Rng) -> Order {
    let (source, ahead) = (rng.random_range(0..ACCOUNTS), rng.random_range(1..ACCOUNTS));
    let account = |number: i64| AccountId(number % ACCOUNTS + 1);
    let (source, target) = (account(source), account(source + ahead));
    let id = uuid::Builder::from_random_bytes(rng.random()).into_uuid();
    let request = TransferRequest {
        amount: Some(Amount::new(1).expect("a positive amount")),
        ..TransferRequest::default()
    };
    Order::new(id, source, target, request)
}

async fn open_accounts(direct: &Database) {
    let accounts = format!(
        "INSERT INTO accounts (id, balance, opening_balance) \
         SELECT i, 1000000, 1000000 FROM generate_series(1, {ACCOUNTS}) AS g (i)"
    );
    execute(direct, &accounts).await;
}

/// The first COMMIT of each of `LOST_ANSWERS` transfers loses its answer, half of them before delivery.
/// Each transfer is reported applied by this run and recorded once.
pub(super) async fn lost_answers_neither_repeat_nor_lose_a_transfer(server: &TestServer) {
    let count = std::env::var("LOST_ANSWERS").map_or(TRANSFERS, |count| count.parse().expect("a number"));
    let seed = rand::random();
    println!("{server}: {count} transfers with lost answers, seed {seed}");
    let test = server.database().await;
    let direct = test.connect().await;
    open_accounts(&direct).await;
    let proxy = test.proxy().await;
    let through = Address::parse(&proxy.url(test.url())).expect("a good URL");
    let max_connections = u32::try_from(CONCURRENCY).expect("a small number");
    let options = Options { max_connections, ..Options::default() };
    let database = connect(&through, &options).await.expect("the server answers");
    let bank = Bank::new(&database, Policy::default());

    let losses = Arc::new(Mutex::new(Losses::new(seed)));
    let plan = Arc::clone(&losses);
    proxy.arm(move |request| plan.lock().unwrap_or_else(PoisonError::into_inner).at(request));
    let started = Instant::now();
    // The accounts are drawn here, because only the transfer is tested.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let transfers = futures_util::stream::iter((0..count).map(|_| {
        let (bank, order) = (bank.clone(), draw(&mut rng));
        async move {
            let transfer = tokio::spawn(async move { bank.transfer(order, Style::Builder).await });
            (order.id, transfer.await.expect("no panic"))
        }
    }));
    let mut told = transfers.buffer_unordered(CONCURRENCY);
    let (mut applied, mut otherwise) = (HashSet::new(), Vec::new());
    while let Some((id, outcome)) = told.next().await {
        match outcome {
            Ok(receipt) if receipt.by == By::ThisRun => assert!(applied.insert(id), "reported once"),
            other => otherwise.push(format!("{id}: {other:?}")),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    proxy.settle().await;

    let recorded: Vec<Uuid> = everything(&direct).await.1.into_iter().map(|transfer| transfer.id).collect();
    let audit = Bank::new(&direct, Policy::default()).audit().await.expect("the audit runs");
    let (losses, counts) = (losses.lock().unwrap_or_else(PoisonError::into_inner), bank.counts());
    let Counts { before_sending, after_applied, in_reply, of_later_attempts } = losses.counts;
    println!(
        "{server}: {} reported applied, {} recorded, {} otherwise; answers lost: {before_sending} before the COMMIT was sent, \
         {after_applied} after it was applied, {in_reply} in the middle, {of_later_attempts} of them of later attempts; \
         {} attempts, {} retries; {seconds:.1} s",
        applied.len(),
        recorded.len(),
        otherwise.len(),
        counts.attempts,
        counts.retries,
    );
    assert!(otherwise.is_empty(), "not reported applied by this run: {otherwise:#?}");
    assert_eq!(counts.unknown, 0);
    assert_eq!(losses.struck.len() as u64, count, "every transfer has lost an answer");
    assert_eq!(recorded.len() as u64, count, "an id is recorded at most once by its key");
    assert!(recorded.iter().all(|id| applied.contains(id)), "every recorded transfer was reported");
    assert!(audit.ok, "the balances agree with the transfers: {:?}", audit.violations);
}
