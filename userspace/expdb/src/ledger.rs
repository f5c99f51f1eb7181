//! What became of the records that a recorder was given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Kind;

/// Counters by kind. Every record given is in the end stored, not stored (an exchange beyond the limit) or dropped.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    given: [AtomicU64; Kind::ALL.len()],
    stored: [AtomicU64; Kind::ALL.len()],
    not_stored: AtomicU64,
}

impl Ledger {
    pub(crate) fn give(&self, kind: Kind) {
        self.given[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn store(&self, kind: Kind, count: usize) {
        self.stored[kind as usize].fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn leave_out(&self) {
        self.not_stored.fetch_add(1, Relaxed);
    }

    pub(crate) fn stored(&self, kind: Kind) -> u64 {
        self.stored[kind as usize].load(Relaxed)
    }

    pub(crate) fn not_stored(&self) -> u64 {
        self.not_stored.load(Relaxed)
    }

    /// What was given and is nowhere else. Only true once nothing waits any more; by subtraction it holds whatever way a
    /// record got lost.
    pub(crate) fn dropped(&self) -> BTreeMap<Kind, u64> {
        let dropped = |kind: Kind| {
            let left_out = if kind == Kind::Exchange {
                self.not_stored()
            } else {
                0
            };
            self.given[kind as usize]
                .load(Relaxed)
                .saturating_sub(self.stored(kind) + left_out)
        };
        Kind::ALL
            .into_iter()
            .map(|kind| (kind, dropped(kind)))
            .collect()
    }
}
