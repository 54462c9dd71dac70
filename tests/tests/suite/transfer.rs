//! Every outcome in each style; an id is applied at most once.
#![expect(clippy::print_stdout, reason = "the retries of many at once are to be seen")]

mod lost;
mod many;

use std::time::Duration;

use database::{Database, Server};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_retry::Policy;
use seabank::bank::Error;
use seabank::bank::transfer::{By, Field, Order, Receipt, Refusal, Style, TransferRequest};
use seabank::bank::{AccountId, Amount, Bank};
use tests::{Test, TestDatabase, TestServer, tests};
use uuid::Uuid;

use crate::books::{balances, everything, execute, insert_account};
use lost::{a_lost_answer_is_settled_by_the_next_attempt, after_a_lost_answer_a_refusal_is_proven};
use many::{
    a_pair_is_drawn_and_never_the_same_twice, a_run_told_again_applies_nothing_twice,
    many_concurrent_transfers_between_few_accounts_all_succeed, random_transfers_keep_the_books,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        money_moves_and_is_recorded,
        half_is_rounded_down,
        a_repeated_id_answers_with_what_is_recorded,
        an_id_recorded_otherwise_is_a_conflict,
        every_refusal_changes_nothing,
        refusals_come_in_checking_order,
        a_lost_answer_is_settled_by_the_next_attempt,
        after_a_lost_answer_a_refusal_is_proven,
        a_transfer_waits_for_its_accounts_before_it_reads_anything on &[Server::Cockroach],
        a_pair_is_drawn_and_never_the_same_twice,
        random_transfers_keep_the_books,
        many_concurrent_transfers_between_few_accounts_all_succeed within 900 s,
        a_run_told_again_applies_nothing_twice,
    ]
}

const ID: Uuid = Uuid::from_u128(1);

/// Accounts 1 (100), 2 (50), 3 (1) and 4 (the maximum).
struct Fixture {
    _test: TestDatabase,
    database: Database,
    bank: Bank,
}

impl Fixture {
    async fn new(server: &TestServer) -> Self {
        Self::on(server.database().await).await
    }

    async fn on(test: TestDatabase) -> Self {
        let database = test.connect().await;
        for (id, balance) in [(1, 100), (2, 50), (3, 1), (4, i64::MAX)] {
            insert_account(&database, id, balance).await;
        }
        let bank = Bank::new(&database, Policy::default());
        Self { _test: test, database, bank }
    }

    async fn transfer(&self, style: Style, order: Order) -> Result<Receipt, Refusal> {
        match self.bank.transfer(order, style).await {
            Ok(receipt) => Ok(receipt),
            Err(Error::Body(refusal) | Error::Database { body: Some(refusal), .. }) => Err(refusal),
            Err(other) => panic!("neither done nor refused: {other}"),
        }
    }

    async fn recorded(&self) -> Vec<(i64, i64, i64)> {
        everything(&self.database)
            .await
            .1
            .into_iter()
            .map(|it| (it.source_id, it.target_id, it.amount))
            .collect()
    }
}

fn order(id: Uuid, source: i64, target: i64, amount: Option<i64>) -> Order {
    let amount = amount.map(|units| Amount::new(units).expect("a positive amount"));
    let (source, target) = (AccountId(source), AccountId(target));
    Order::new(id, source, target, TransferRequest { source: Some(source), target: Some(target), amount })
}

async fn money_moves_and_is_recorded(server: &TestServer) {
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        let receipt = fixture.transfer(style, order(ID, 1, 2, Some(30))).await.expect("there is enough");
        assert_eq!((receipt.id, receipt.amount.units(), receipt.by), (ID, 30, By::ThisRun));
        assert_eq!(balances(&fixture.database).await[..2], [(1, 70), (2, 80)]);
        assert_eq!(fixture.recorded().await, [(1, 2, 30)]);
    }
}

async fn half_is_rounded_down(server: &TestServer) {
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        fixture.transfer(style, order(ID, 1, 2, Some(1))).await.expect("there is enough");
        let receipt =
            fixture.transfer(style, order(Uuid::from_u128(2), 1, 2, None)).await.expect("half of 99");
        assert_eq!(receipt.amount.units(), 49);
        assert_eq!(balances(&fixture.database).await[..2], [(1, 50), (2, 100)]);
    }
}

async fn a_repeated_id_answers_with_what_is_recorded(server: &TestServer) {
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        fixture.transfer(style, order(ID, 1, 2, None)).await.expect("half of 100");
        let before = everything(&fixture.database).await;
        let (source, target) = (AccountId(1), AccountId(2));
        // Omitted fields match any record.
        for again in [
            order(ID, 1, 2, None),
            order(ID, 1, 2, Some(50)),
            Order::new(
                ID,
                AccountId(3),
                AccountId(2),
                TransferRequest { target: Some(target), ..TransferRequest::default() },
            ),
            Order::new(
                ID,
                source,
                AccountId(3),
                TransferRequest { source: Some(source), ..TransferRequest::default() },
            ),
            Order::new(ID, AccountId(3), AccountId(4), TransferRequest::default()),
            Order::new(ID, AccountId(8), AccountId(9), TransferRequest::default()),
        ] {
            let receipt = fixture.transfer(style, again).await.expect("recorded");
            assert_eq!(
                (receipt.source, receipt.target, receipt.amount.units()),
                (source, target, 50),
                "{again:?}"
            );
            assert_eq!(receipt.by, By::EarlierRun);
        }
        assert!(everything(&fixture.database).await == before);
    }
}

async fn an_id_recorded_otherwise_is_a_conflict(server: &TestServer) {
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        fixture.transfer(style, order(ID, 1, 2, Some(5))).await.expect("there is enough");
        let before = everything(&fixture.database).await;
        for (other, field, recorded) in [
            (order(ID, 3, 2, Some(5)), Field::Source, 1),
            (order(ID, 1, 4, Some(5)), Field::Target, 2),
            (order(ID, 1, 2, Some(6)), Field::Amount, 5),
            // The id is checked first.
            (order(ID, 1, 1, Some(5)), Field::Target, 2),
            (order(ID, 9, 2, Some(5)), Field::Source, 1),
            (order(ID, 1, 2, Some(i64::MAX)), Field::Amount, 5),
        ] {
            let refusal = fixture.transfer(style, other).await.expect_err("another transfer");
            assert_eq!(refusal, Refusal::IdConflict { id: ID, field, recorded }, "{style:?} {other:?}");
        }
        assert!(everything(&fixture.database).await == before);
    }
}

async fn every_refusal_changes_nothing(server: &TestServer) {
    every_refusal_leaves(server, Fixture::new).await;
    let without = async |server: &TestServer| Fixture::on(server.database_without_foreign_keys().await).await;
    every_refusal_leaves(server, without).await;
}

async fn every_refusal_leaves(server: &TestServer, fixture: impl AsyncFn(&TestServer) -> Fixture) {
    let amount = |units| Amount::new(units).expect("a positive amount");
    for style in Style::on(server.server) {
        let fixture = fixture(server).await;
        execute(&fixture.database, "UPDATE accounts SET balance = 0, opening_balance = 0 WHERE id = 2").await;
        let before = everything(&fixture.database).await;
        for (refused, why) in [
            (order(ID, 1, 1, Some(1)), Refusal::SameAccount(AccountId(1))),
            (order(ID, 9, 1, Some(1)), Refusal::UnknownAccount(AccountId(9))),
            (order(ID, 1, 9, Some(1)), Refusal::UnknownAccount(AccountId(9))),
            (order(ID, 9, 1, None), Refusal::UnknownAccount(AccountId(9))),
            (order(ID, 1, 9, None), Refusal::UnknownAccount(AccountId(9))),
            (
                order(ID, 1, 3, Some(101)),
                Refusal::InsufficientFunds { account: AccountId(1), amount: amount(101) },
            ),
            (order(ID, 3, 1, None), Refusal::NothingToMove(AccountId(3))),
            (order(ID, 2, 1, None), Refusal::NothingToMove(AccountId(2))),
            (order(ID, 1, 4, Some(1)), Refusal::BalanceOverflow { account: AccountId(4), amount: amount(1) }),
        ] {
            let refusal = fixture.transfer(style, refused).await.expect_err("it is refused");
            assert_eq!(refusal, why, "{style:?} {refused:?}");
        }
        assert!(everything(&fixture.database).await == before, "{style:?}");
    }
}

async fn refusals_come_in_checking_order(server: &TestServer) {
    let too_much = Amount::new(i64::MAX).expect("a positive amount");
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        for (refused, why) in [
            (order(ID, 9, 9, Some(1)), Refusal::SameAccount(AccountId(9))),
            (order(ID, 8, 9, Some(1)), Refusal::UnknownAccount(AccountId(8))),
            (order(ID, 3, 9, Some(i64::MAX)), Refusal::UnknownAccount(AccountId(9))),
            // Half of its balance, 1, rounds to 0.
            (order(ID, 3, 9, None), Refusal::UnknownAccount(AccountId(9))),
            (
                order(ID, 3, 4, Some(i64::MAX)),
                Refusal::InsufficientFunds { account: AccountId(3), amount: too_much },
            ),
            // Its balance, 100, is enough once only.
            (
                order(ID, 1, 4, Some(60)),
                Refusal::BalanceOverflow {
                    account: AccountId(4),
                    amount: Amount::new(60).expect("positive"),
                },
            ),
        ] {
            assert_eq!(fixture.transfer(style, refused).await, Err(why), "{style:?} {refused:?}");
        }
    }
}

/// A transfer waits in the server's lock queue. EXPLAIN of v22.1 does not show the lock.
async fn a_transfer_waits_for_its_accounts_before_it_reads_anything(server: &TestServer) {
    for style in [Style::Builder, Style::Orm] {
        for (share, held) in [(Some(30), 1), (Some(30), 2), (None, 1), (None, 2)] {
            let fixture = Fixture::new(server).await;
            let rival = fixture._test.connect().await;
            let runner = seabank::bank::Runner::new(&rival, Policy::default());
            let locked = tokio::sync::Notify::new();
            let rivals = async {
                runner
                    .run("rival", async |tx| {
                        let lock = format!("SELECT id FROM accounts WHERE id = {held} FOR UPDATE");
                        tx.execute_unprepared(&lock).await?;
                        locked.notify_one();
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        let update = format!("UPDATE accounts SET balance = balance + 0 WHERE id = {held}");
                        tx.execute_unprepared(&update).await.map(drop)
                    })
                    .await
                    .unwrap_or_else(|error: Error<DbErr>| panic!("{error}"));
            };
            let transfer = async {
                locked.notified().await;
                fixture.transfer(style, order(ID, 1, 2, share)).await
            };
            let ((), receipt) = tokio::join!(rivals, transfer);
            assert!(receipt.is_ok(), "{receipt:?}");
            let retries = fixture.bank.counts().retries;
            assert_eq!(retries, 0, "{style:?}, {share:?}, account {held} was locked");
        }
    }
}
