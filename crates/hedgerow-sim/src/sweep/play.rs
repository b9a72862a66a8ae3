//! Playing the cells of a sweep on several threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::file::Sweep;
use super::row::Row;
use crate::report::Report;
use crate::simulation::Simulation;

impl Sweep {
    /// Plays all cells that are not done on `jobs` threads, and returns the rows of all cells in the cells' order.
    /// `finished` is called for each new row, in the order of completion, on the caller's thread.
    ///
    /// # Errors
    ///
    /// Returns the first error of `finished`; no further cell is started after it.
    ///
    /// # Panics
    ///
    /// When a simulation panics.
    pub fn play<E>(
        &self,
        done: &BTreeMap<usize, Row>,
        jobs: NonZero<usize>,
        mut finished: impl FnMut(usize, &Row) -> Result<(), E>,
    ) -> Result<Vec<Row>, E> {
        let todo: Vec<usize> = (0..self.cells().len()).filter(|cell| !done.contains_key(cell)).collect();
        let mut rows = done.clone();
        let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (results, ended) = mpsc::channel();
        let work = |results: mpsc::Sender<(usize, Row)>| {
            while !is_over.load(Ordering::Relaxed)
                && let Some(&cell) = todo.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let scenario = &self.cells()[cell].scenario;
                let run = Simulation::new(scenario).run(|_| {});
                if results.send((cell, Row::of(&Report::of(scenario, &run)))).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs.get().min(todo.len()) {
                let results = results.clone();
                scope.spawn(|| work(results));
            }
            drop(results);
            for (cell, row) in ended {
                if let Err(error) = finished(cell, &row) {
                    is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                rows.insert(cell, row);
            }
            Ok(())
        })?;
        Ok(rows.into_values().collect())
    }
}
