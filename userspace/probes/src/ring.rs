//! A ring buffer that is looked at often while records come and seldom while none do.

use std::{io, time::Duration};

use aya::maps::{MapData, RingBuf};
use tokio::{io::unix::AsyncFd, time};

use crate::Error;

/// How often the ring is looked at while records come.
const BUSY: Duration = Duration::from_millis(10);
/// How often while none come. The kernel side wakes the reader earlier if the ring fills.
const IDLE: Duration = Duration::from_secs(1);
/// Records handed out at once.
const BATCH: usize = 16_384;
/// Looks in a row without a record after which none are said to come.
const CALM: u32 = 10;

/// The reading end of a ring buffer.
pub(crate) struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
    empty_looks: u32,
}

impl Ring {
    /// Must be called within a tokio runtime with I/O enabled.
    pub(crate) fn new(ring: RingBuf<MapData>) -> Result<Self, Error> {
        // SAFETY: the ring owns its descriptor, which stays the same and open until the ring is dropped with `self`.
        let ring = unsafe { AsyncFd::register(ring) }
            .map_err(|error| Error::io("wait for the ring buffer", error.into_parts().1))?;
        Ok(Self {
            ring,
            empty_looks: 0,
        })
    }

    /// Waits until `read` makes something of what lies in the ring, and returns that. Cancel safe.
    pub(crate) async fn next_batch<T>(
        &mut self,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        loop {
            let batch = self.drain(&mut read);
            if !batch.is_empty() {
                self.empty_looks = 0;
                return Ok(batch);
            }
            self.empty_looks = self.empty_looks.saturating_add(1);
            let pause = if self.empty_looks < CALM { BUSY } else { IDLE };
            tokio::select! {
                ready = self.ring.readable() => {
                    ready.map_err(|error: io::Error| Error::io("wait for the ring buffer", error))?.clear_ready();
                    self.empty_looks = 0;
                }
                () = time::sleep(pause) => {}
            }
        }
    }

    /// What `read` makes of what lies in the ring now: of at most 16,384 records, so that events which go on cannot hold
    /// the caller.
    pub(crate) fn drain<T>(&mut self, mut read: impl FnMut(&[u8]) -> Option<T>) -> Vec<T> {
        let mut batch = Vec::new();
        let ring = self.ring.get_mut();
        for _ in 0..BATCH {
            let Some(record) = ring.next() else { break };
            batch.extend(read(&record));
        }
        batch
    }
}
