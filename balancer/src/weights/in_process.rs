//! Weights set by the program that the balancer runs in.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Host, WeightSource, Weights};
use crate::Error;

/// A handle to weights that live in this process; clones set the same weights.
#[derive(Debug, Clone, Default)]
pub struct InProcessWeights {
    table: Arc<watch::Sender<Weights>>,
}

impl InProcessWeights {
    /// Without services.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the replicas of a service and their weights; the balancer follows within milliseconds. What was set before
    /// the balancer starts holds from its first request on.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] for a name that cannot be one segment of a path, or a replica that is listed twice.
    pub fn set<H: Into<Host>>(
        &self,
        service: &str,
        replicas: impl IntoIterator<Item = (H, u32)>,
    ) -> Result<(), Error> {
        let replicas = replicas
            .into_iter()
            .map(|(host, weight)| (host.into(), weight))
            .collect();
        self.change(|table| table.set(service, replicas))
    }

    /// Forgets a service: requests for it are answered with 404.
    pub fn remove(&self, service: &str) {
        // Removing cannot fail; the result is that of `change` alone.
        let _ = self.change(|table| {
            table.remove(service);
            Ok(())
        });
    }

    /// The source that the balancer follows. It ends when all handles are gone.
    #[must_use]
    pub fn source(&self) -> InProcessSource {
        let mut table = self.table.subscribe();
        table.mark_changed();
        InProcessSource { table }
    }

    /// Changes the table and wakes the sources only if it is another then.
    fn change(&self, change: impl FnOnce(&mut Weights) -> Result<(), Error>) -> Result<(), Error> {
        let mut result = Ok(());
        self.table.send_if_modified(|table| {
            let before = table.clone();
            result = change(table);
            *table != before
        });
        result
    }
}

/// See [`InProcessWeights::source`].
#[derive(Debug)]
pub struct InProcessSource {
    table: watch::Receiver<Weights>,
}

impl WeightSource for InProcessSource {
    async fn next(&mut self) -> Option<Weights> {
        self.table.changed().await.ok()?;
        Some(self.table.borrow_and_update().clone())
    }
}
