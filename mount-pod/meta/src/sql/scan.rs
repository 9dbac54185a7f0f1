//! Every chunk of the volume, page by page, from one state of the database.
//!
//! Without that, a slice could be missed that moves from a chunk ahead of the scan to one
//! behind it. A transaction that stays open keeps the server from clearing up what it may
//! still read, so that it lasts a bounded time; what is left then comes from a newer
//! state.

use std::time::{Duration, Instant};

use carafe_types::Result;

use super::{
    Sql,
    driver::{Connection, Driver, Failure},
    lists, rows,
    statement::{Rows, Statement},
    work_until,
};
use crate::{ChunkRecord, engine::Terms, retry::Pause};

/// How long one state is read from: some ten million chunks.
const SNAPSHOT: Duration = Duration::from_mins(10);
/// So often a state may be lost before the scan fails.
const LOSSES: usize = 5;

/// A scan under way.
struct Scan<'a> {
    /// The number of the last row that was shown.
    after: i64,
    patience: Duration,
    visit: &'a mut (dyn FnMut(ChunkRecord) + Send),
}

impl Scan<'_> {
    /// Shows a page; whether it was the last one.
    fn show(&mut self, rows: &Rows) -> Result<bool> {
        for row in rows {
            (self.visit)(lists::chunk(row)?);
        }
        if let Some(row) = rows.last() {
            self.after = rows::int(row, 0)?;
        }
        Ok(rows.len() < lists::CHUNKS)
    }
}

impl<D: Driver> Sql<D> {
    /// Shows all chunks. A connection that is lost takes its state with it, and the scan
    /// begins anew.
    pub(super) async fn scan(
        &self,
        patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        let mut scan = Scan {
            after: 0,
            patience,
            visit,
        };
        let (mut pause, mut losses) = (Pause::default(), 0);
        loop {
            match self.scan_state(&mut scan).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Failure::Lost(reason) | Failure::Again(reason)) if losses < LOSSES => {
                    (losses, scan.after) = (losses + 1, 0);
                    pause.wait(Terms::within(patience), &reason).await?;
                }
                Err(other) => return Err(self.error(other)),
            }
        }
    }

    /// Shows what one state has, as long as it may last; whether that was all.
    async fn scan_state(&self, scan: &mut Scan<'_>) -> Result<bool, Failure> {
        let loan = self.pool.get(Terms::within(scan.patience)).await;
        let mut loan = loan.map_err(Failure::Final)?;
        let outcome = self.pages(&mut loan.connection, scan).await;
        match &outcome {
            Ok(_) => loan.give_back(),
            Err(Failure::Lost(reason)) => loan.lost(reason),
            // What is open on it ends with it.
            Err(_) => drop(loan),
        }
        outcome
    }

    async fn pages(
        &self,
        connection: &mut D::Connection,
        scan: &mut Scan<'_>,
    ) -> Result<bool, Failure> {
        let until = Instant::now() + SNAPSHOT;
        let mut statements: Vec<_> = D::SNAPSHOT.iter().map(|text| plain(text)).collect();
        loop {
            statements.push(lists::all_chunks(scan.after));
            let found = self.ask(connection, scan.patience, &statements).await?;
            statements.clear();
            let page = found.last().cloned().unwrap_or_default();
            let is_last = scan.show(&page).map_err(Failure::Final)?;
            if is_last || Instant::now() >= until {
                let end = [plain("COMMIT")];
                self.ask(connection, scan.patience, &end).await?;
                return Ok(is_last);
            }
        }
    }

    async fn ask(
        &self,
        connection: &mut D::Connection,
        patience: Duration,
        statements: &[Statement],
    ) -> Result<Vec<Rows>, Failure> {
        let answer = work_until(Terms::within(patience), connection.run(statements)).await;
        let silence = || Terms::timed_out(format!("{} did not answer", self.pool.place()));
        answer.unwrap_or_else(|| Err(Failure::Final(silence())))
    }
}

fn plain(text: &'static str) -> Statement {
    Statement::new(text, Vec::new()).once()
}
