//! Transfers whose answer was lost.

use sea_orm_retry::Policy;
use seabank::bank::Bank;
use seabank::bank::Error;
use seabank::bank::transfer::{By, Refusal, Style};
use tests::{Loss, Tap, TestServer};
use uuid::Uuid;

use super::{Fixture, ID, order};
use crate::books::{balances, tapped};

pub(super) async fn a_lost_answer_is_settled_by_the_next_attempt(server: &TestServer) {
    for style in Style::on(server.server) {
        for losses in [
            &[Loss::AfterCommit][..],
            &[Loss::BeforeCommit],
            &[Loss::BeforeCommit, Loss::AfterCommit],
            &[Loss::AfterCommit, Loss::AfterCommit],
        ] {
            let fixture = Fixture::new(server).await;
            let bank = Bank::on(tapped(&Tap::new(&fixture.database).losing(losses), Policy::default()));
            let receipt = bank.transfer(order(ID, 1, 2, None), style).await.expect("settled");
            assert_eq!((receipt.amount.units(), receipt.by), (50, By::ThisRun), "{style:?} {losses:?}");
            assert_eq!(balances(&fixture.database).await[..2], [(1, 50), (2, 100)], "{style:?} {losses:?}");
            assert_eq!(fixture.recorded().await, [(1, 2, 50)]);
        }
    }
}

/// Attempt 1 loses its connection before COMMIT, then the money is spent. Attempt 2 proves that
/// attempt 1 was rolled back.
pub(super) async fn after_a_lost_answer_a_refusal_is_proven(server: &TestServer) {
    for style in Style::on(server.server) {
        let fixture = Fixture::new(server).await;
        let slow = Policy {
            pause_first: std::time::Duration::from_millis(300),
            pause_max: std::time::Duration::from_millis(300),
            ..Policy::default()
        };
        let tap = Tap::new(&fixture.database).losing(&[Loss::BeforeCommit]);
        let bank = Bank::on(tapped(&tap, slow));
        let spending = async {
            while !tap.verbs().iter().any(|verb| verb == "COMMIT" || verb == "WITH") {
                tokio::task::yield_now().await;
            }
            let spend = order(Uuid::from_u128(2), 1, 2, Some(100));
            Bank::new(&fixture.database, Policy::default()).transfer(spend, Style::Builder).await
        };
        let (outcome, spent) = tokio::join!(bank.transfer(order(ID, 1, 2, Some(60)), style), spending);
        match (outcome, spent) {
            (Err(Error::Body(Refusal::InsufficientFunds { .. })), Ok(_)) => {
                assert_eq!(fixture.recorded().await, [(1, 2, 100)], "{style:?}");
            }
            // The random pause may have been zero.
            (Ok(_), Err(Error::Body(Refusal::InsufficientFunds { .. }))) => {
                assert_eq!(fixture.recorded().await, [(1, 2, 60)], "{style:?}");
            }
            // A late statement may still be executed.
            (Err(Error::Unknown { .. }), Ok(_)) if style == Style::Single => {
                assert_eq!(fixture.recorded().await, [(1, 2, 100)]);
            }
            other => panic!("{style:?}: {other:?}"),
        }
    }
}
