//! The way of hop records out of the balancer: a bounded channel that counts what does not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use galileo_wire::Hop;
use tokio::sync::mpsc;

/// A channel for hop records that holds up to `capacity`. What does not fit is dropped (the newest) and counted: a slow
/// reader never slows a request down.
///
/// # Panics
///
/// If `capacity` is zero.
#[must_use]
pub fn hop_channel(capacity: usize) -> (HopSender, HopReceiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    let counts = Arc::new(Counts::default());
    (
        HopSender {
            sender: Some(sender),
            counts: Arc::clone(&counts),
        },
        HopReceiver { receiver, counts },
    )
}

#[derive(Debug, Default)]
struct Counts {
    attempted: AtomicU64,
    dropped: AtomicU64,
}

/// Where the balancer puts its records. When all senders are gone — after [`crate::Running::stop`], if no clone was
/// kept — the receiver ends.
#[derive(Debug, Clone)]
pub struct HopSender {
    sender: Option<mpsc::Sender<Hop>>,
    counts: Arc<Counts>,
}

impl HopSender {
    /// For a balancer whose hops nobody wants; nothing is counted.
    #[must_use]
    pub fn none() -> Self {
        Self {
            sender: None,
            counts: Arc::default(),
        }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.sender.is_some()
    }

    pub(crate) fn send(&self, hop: Hop) {
        let Some(sender) = &self.sender else { return };
        self.counts.attempted.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(hop).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where the records come out.
#[derive(Debug)]
pub struct HopReceiver {
    receiver: mpsc::Receiver<Hop>,
    counts: Arc<Counts>,
}

impl HopReceiver {
    /// The next record; none when the balancer is gone and all were read. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Hop> {
        self.receiver.recv().await
    }

    /// Appends up to `limit` records to `hops` and returns how many; 0 says that the balancer is gone and all were read.
    /// Dropping the future loses nothing.
    pub async fn recv_many(&mut self, hops: &mut Vec<Hop>, limit: usize) -> usize {
        self.receiver.recv_many(hops, limit).await
    }

    /// As [`HopReceiver::recv_many`], for a thread of its own.
    ///
    /// # Panics
    ///
    /// On a thread that drives asynchronous tasks.
    pub fn blocking_recv_many(&mut self, hops: &mut Vec<Hop>, limit: usize) -> usize {
        self.receiver.blocking_recv_many(hops, limit)
    }

    /// Records made so far; those read, those waiting and those dropped add up to it.
    #[must_use]
    pub fn attempted(&self) -> u64 {
        self.counts.attempted.load(Ordering::Relaxed)
    }

    /// Records dropped so far because the channel was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(attempt: u32) -> Hop {
        Hop {
            request_id: None,
            service: String::new(),
            replica: None,
            attempt,
            start_ns: 0,
            connect_ns: None,
            first_byte_ns: None,
            end_ns: 0,
            status: 200,
            cause: None,
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted() {
        let (sender, mut receiver) = hop_channel(2);
        for attempt in 1..=5 {
            sender.send(hop(attempt));
        }
        drop(sender);
        let mut hops = Vec::new();
        while receiver.recv_many(&mut hops, 10).await > 0 {}
        let attempts: Vec<_> = hops.iter().map(|hop| hop.attempt).collect();
        assert_eq!(attempts, [1, 2]);
        assert_eq!((receiver.attempted(), receiver.dropped()), (5, 3));
    }
}
