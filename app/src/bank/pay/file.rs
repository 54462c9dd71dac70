//! Pays a file of transfers in idempotent chunks.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicU64, Ordering};

use super::header::{Columns, Payments};
use super::{Decision, Paying, Payment};
use crate::bank::Bank;
use crate::bank::file::{FileError, OnError, Rows, header};
use crate::bank::load::{LoadError, Loaded, Loading, Rejected, load};
use crate::bank::transfer::By;

/// The result of paying a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paid {
    /// Transfers applied by this run.
    pub applied: u64,
    /// Of those, transfers applied by an earlier call of the run.
    pub found: u64,
    /// Transfers applied before their chunk: by another run, or by an earlier line.
    pub already_applied: u64,
    /// Rejected rows.
    pub rejected: u64,
    /// Applied chunks, whoever applied them.
    pub chunks: u64,
}

/// Counts so far, without rejected rows.
#[derive(Default)]
struct Counts {
    applied: AtomicU64,
    found: AtomicU64,
    already_applied: AtomicU64,
}

impl Counts {
    fn paid(&self, rejected: u64, chunks: u64) -> Paid {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Paid {
            applied: load(&self.applied),
            found: load(&self.found),
            already_applied: load(&self.already_applied),
            rejected,
            chunks,
        }
    }
}

impl Bank {
    /// Applies the transfers of a file, each once. A chunk applies them in the file's order;
    /// concurrent chunks have no order. An error of `reject` ends the run.
    ///
    /// # Errors
    ///
    /// A [`FileError`], with what is applied. Under [`OnError::Stop`] a chunk with a refusal is
    /// rolled back whole.
    pub async fn pay_file(
        &self,
        input: impl BufRead + Send + 'static,
        loading: &Loading,
        on_error: OnError,
        mut progress: impl FnMut(&Paid),
        reject: impl FnMut(&Rejected) -> io::Result<()>,
    ) -> Result<Paid, (FileError, Paid)> {
        let header = header(input, &loading.stop, Columns::read).await;
        let Some((columns, reader)) = header.map_err(|error| (error, Paid::default()))? else {
            return Ok(Paid::default());
        };
        let rows = Rows::new(on_error, reject);
        let counts = Counts::default();
        let report = |payments: &[Payment], decisions: Vec<Decision>, found: bool| {
            for (payment, decision) in payments.iter().zip(decisions) {
                match decision {
                    Ok(receipt) if receipt.by == By::EarlierRun => {
                        counts.already_applied.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {
                        counts.applied.fetch_add(1, Ordering::Relaxed);
                        counts.found.fetch_add(u64::from(found), Ordering::Relaxed);
                    }
                    Err(refusal) => {
                        let mut row = columns.rejected(payment, &refusal);
                        if found {
                            row.reason += " (refused by an earlier call of this run)";
                        }
                        rows.reject(&row).map_err(LoadError::Unwritable)?;
                    }
                }
            }
            Ok(())
        };
        let stop = (on_error == OnError::Stop).then(|| columns.clone());
        let paying = Paying::new(self, stop, report);
        let payments = Payments { columns: columns.clone(), run: loading.run };
        let chunks = rows.chunks(reader, payments, loading);
        let sum = |loaded: &Loaded<_>| progress(&counts.paid(rows.rejected(), loaded.chunks));
        let loaded = load(&self.runner, &paying, loading, chunks, sum).await;
        if loaded.is_ok() {
            self.rows_added("transfers").await;
        }
        let (loaded, ended) = rows.conclude(loaded);
        let paid = counts.paid(rows.rejected(), loaded.chunks);
        ended.map_or(Ok(paid), |error| Err((error, paid)))
    }
}
