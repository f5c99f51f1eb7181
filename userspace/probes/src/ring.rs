//! A ring buffer that is looked at often while records come and seldom while none do.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::Duration,
};

use aya::maps::{Map, MapData};
use tokio::{io::unix::AsyncFd, time};

use crate::{Error, consumer::Consumer};

/// How often the ring is looked at while records come.
const BUSY: Duration = Duration::from_millis(10);
/// How often while none come. The kernel side wakes the reader earlier if the ring fills.
const IDLE: Duration = Duration::from_secs(1);
/// Records handed out at once, at most, to who waits for them: what is made of them stays in the cache, where it would
/// otherwise push out what the observed programs have there.
const BATCH: usize = 64;
/// Records handed out at once, at most, to who does not wait.
const DRAINED: usize = 4_096;
/// Looks in a row without a record after which none are said to come.
const CALM: u32 = 10;

/// The reading end of a ring buffer.
pub(crate) struct Ring {
    ring: AsyncFd<Readable>,
    empty_looks: u32,
}

/// What is waited for.
struct Readable(Consumer);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.map().fd().as_fd().as_raw_fd()
    }
}

impl Ring {
    /// Must be called within a tokio runtime with I/O enabled.
    pub(crate) fn new(map: Map) -> Result<Self, Error> {
        let ring = Readable(Consumer::new(ring(map)?)?);
        // SAFETY: the consumer owns its descriptor, which stays the same and open until it is dropped with `self`.
        let ring = unsafe { AsyncFd::register(ring) }
            .map_err(|error| Error::io("wait for the ring buffer", error.into_parts().1))?;
        Ok(Self {
            ring,
            empty_looks: 0,
        })
    }

    /// Waits until `read` puts something of what lies in the ring into `batch`, which is empty. Cancel safe.
    pub(crate) async fn next_batch<T>(
        &mut self,
        batch: &mut Vec<T>,
        mut read: impl FnMut(&[u8], &mut Vec<T>),
    ) -> Result<(), Error> {
        loop {
            let end = self.collect(batch, BATCH, &mut read);
            if !batch.is_empty() {
                self.empty_looks = 0;
                return Ok(());
            }
            end?;
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

    /// Has `read` put what lies in the ring now into `batch`: at most [`DRAINED`] records, so that events which go on cannot hold the
    /// caller.
    pub(crate) fn drain<T>(
        &mut self,
        batch: &mut Vec<T>,
        mut read: impl FnMut(&[u8], &mut Vec<T>),
    ) {
        if let Err(error) = self.collect(batch, DRAINED, &mut read) {
            tracing::error!(%error, "records stay unread");
        }
    }

    fn collect<T>(
        &mut self,
        batch: &mut Vec<T>,
        most: usize,
        read: &mut impl FnMut(&[u8], &mut Vec<T>),
    ) -> Result<(), Error> {
        let Readable(consumer) = self.ring.get_mut();
        let mut end = Ok(());
        for _ in 0..most {
            // Put there from within, as what is made is large and would be moved on every way out.
            match consumer.next(|record| read(record, batch)) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        consumer.tell();
        end
    }
}

fn ring(map: Map) -> Result<MapData, Error> {
    match map {
        Map::RingBuf(data) => Ok(data),
        _ => Err(Error::Mismatch("a ring buffer is none".to_owned())),
    }
}
