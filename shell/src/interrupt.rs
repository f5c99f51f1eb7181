//! Ctrl-C and its kin: once to end in an orderly way, twice to end at once.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::MultiProgress;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::output::tell;

/// Listens for SIGINT, SIGTERM and SIGHUP until it is dropped.
pub struct Interrupts {
    cancel: CancellationToken,
    came: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    listener: tokio::task::JoinHandle<()>,
}

impl Interrupts {
    /// Begins to listen. The first signal cancels the token and says so on the screen; the second ends the process.
    pub fn listen(screen: MultiProgress) -> anyhow::Result<Self> {
        let mut signals = Signals::new().context("cannot wait for signals")?;
        let cancel = CancellationToken::new();
        let came = Arc::new(AtomicBool::new(false));
        let over = Arc::new(AtomicBool::new(false));
        let listener = tokio::spawn({
            let (cancel, came, over) = (cancel.clone(), Arc::clone(&came), Arc::clone(&over));
            async move {
                signals.next().await;
                if over.load(Ordering::Relaxed) {
                    end();
                }
                came.store(true, Ordering::Relaxed);
                cancel.cancel();
                // A terminal shows `^C` where the cursor stands.
                let begin = if io::stderr().is_terminal() { "\n" } else { "" };
                screen.suspend(|| {
                    tell(format!(
                        "{begin}Stopping: what was measured is kept. Once more stops at once."
                    ));
                });
                signals.next().await;
                end();
            }
        });
        Ok(Self {
            cancel,
            came,
            over,
            listener,
        })
    }

    /// Is cancelled by the first signal.
    pub fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Everything is stored: from now on the first signal ends the process.
    pub fn run_is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// At once. The guard of a run outlives this process and removes its replicas and cgroups.
fn end() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}

struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
