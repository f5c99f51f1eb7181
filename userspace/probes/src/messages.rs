//! Messages of the programs, which objects made by `cargo xtask ebpf --debug` send, handed on to `tracing`.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// How long a wait for messages lasts before it is looked whether to stop.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Reads the messages on a thread of its own until dropped.
pub(crate) struct Messages {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Messages {
    /// Begins to read. None if the object sends no messages, as is usual, or if they cannot be read, which is told.
    ///
    /// Must be called before the programs are loaded, and live as long as they do, as they name the map it takes.
    pub(crate) fn start(ebpf: &mut Ebpf) -> Option<Self> {
        ebpf.map("AYA_LOGS")?;
        let logger = match EbpfLogger::init_with_logger(ebpf, ToTracing) {
            Ok(logger) => logger,
            Err(error) => {
                tracing::warn!(%error, "the probes' messages cannot be read");
                return None;
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let spawned = thread::Builder::new()
            .name("probe messages".to_owned())
            .spawn(move || read(logger, &asked));
        match spawned {
            Ok(thread) => Some(Self {
                stop,
                thread: Some(thread),
            }),
            Err(error) => {
                tracing::warn!(%error, "the probes' messages cannot be read");
                None
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::warn!("the thread that reads the probes' messages panicked");
        }
    }
}

fn read(mut logger: EbpfLogger<ToTracing>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let waited = poll(
            &mut [PollFd::from_borrowed_fd(logger.as_fd(), PollFlags::IN)],
            Some(&LOOK),
        );
        if let Err(error) = waited
            && error != Errno::INTR
        {
            tracing::warn!(%error, "the probes' messages cannot be waited for");
            return;
        }
        logger.flush();
    }
    logger.flush();
}

/// aya-log speaks to the `log` crate.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args();
        match record.level() {
            Level::Error => tracing::error!(target: "galileo_probes::kernel", "{text}"),
            Level::Warn => tracing::warn!(target: "galileo_probes::kernel", "{text}"),
            Level::Info => tracing::info!(target: "galileo_probes::kernel", "{text}"),
            Level::Debug => tracing::debug!(target: "galileo_probes::kernel", "{text}"),
            Level::Trace => tracing::trace!(target: "galileo_probes::kernel", "{text}"),
        }
    }

    fn flush(&self) {}
}
