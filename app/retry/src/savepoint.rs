//! Nested transactions: each is a savepoint.
#![expect(clippy::disallowed_methods, reason = "what is begun here is a savepoint")]

use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sea_orm::{AccessMode, DbErr, IsolationLevel, TransactionError, TransactionOptions};
use sea_orm::{TransactionSession, TransactionTrait};

use crate::Tx;

#[async_trait]
impl TransactionTrait for Tx {
    type Transaction = Tx;

    async fn begin(&self) -> Result<Tx, DbErr> {
        let number = self.shared.begin_savepoint(self.savepoint).await?;
        Ok(Self { shared: Arc::clone(&self.shared), savepoint: number })
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Tx, DbErr> {
        if isolation_level.is_some() || access_mode.is_some() {
            let why = "a nested transaction has the isolation and access mode of the outermost: set them in its policy";
            return Err(DbErr::Custom(why.to_owned()));
        }
        self.begin().await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Tx, DbErr> {
        self.begin_with_config(options.isolation_level, options.access_mode).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Tx) -> BoxFuture<'c, Result<T, E>> + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        self.transaction_with_config(callback, None, None).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Tx) -> BoxFuture<'c, Result<T, E>> + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        let nested = self.begin_with_config(isolation_level, access_mode).await;
        let nested = nested.map_err(TransactionError::Connection)?;
        match callback(&nested).await {
            Ok(value) => nested.commit().await.map(|()| value).map_err(TransactionError::Connection),
            Err(error) => {
                nested.rollback().await.map_err(TransactionError::Connection)?;
                Err(TransactionError::Transaction(error))
            }
        }
    }
}

#[async_trait]
impl TransactionSession for Tx {
    async fn commit(self) -> Result<(), DbErr> {
        self.shared.release_savepoint(self.savepoint).await
    }

    async fn rollback(self) -> Result<(), DbErr> {
        self.shared.rollback_savepoint(self.savepoint).await
    }
}
