//! Random points: the tutorial's second program. The database generates their ids.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sea_orm_retry::Tx;

use super::Bank;
use super::bulk::{Column, Table};
use super::load::{Load, LoadError, Loaded, Loading, Nothing, Part, Stopped, chunks, load};

/// Coordinates are below this, as in the tutorial.
pub const COORDINATE_LIMIT: f64 = 1024.0;

const TABLE: Table = Table {
    name: "points",
    columns: &[Column::double("x"), Column::double("y"), Column::double("z")],
    key: None,
};

type Point = [f64; 3];

struct Points;

impl Load for Points {
    type Row = Point;
    type Done = Nothing;
    const KIND: &'static str = "points";

    async fn add(&self, tx: &Tx, _: &Part<'_>, rows: &[Point]) -> Result<Nothing, LoadError> {
        TABLE.insert(tx, rows.iter().map(|point| point.map(Into::into))).await?;
        Ok(Nothing)
    }

    async fn look_up(&self, _: &Tx, _: &Part<'_>, _: &[Point]) -> Result<Nothing, LoadError> {
        Ok(Nothing)
    }
}

impl Bank {
    /// Adds points, uniform in a cube, and calls `progress` after each chunk.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub async fn add_points(
        &self,
        count: u64,
        rng_seed: u64,
        loading: &Loading,
        progress: impl FnMut(&Loaded<Nothing>),
    ) -> Result<Loaded<Nothing>, Stopped<Nothing>> {
        let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
        let points = (0..count).map(|_| [(); 3].map(|()| rng.random_range(0.0..COORDINATE_LIMIT)));
        load(&self.runner, &Points, loading, chunks(points, loading.chunk), progress).await
    }
}
