//! Hop records as a file of lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use galileo_wire::Hop;

use crate::HopReceiver;

/// How many records are written before the file is flushed, if they come that fast.
const BATCH: usize = 1024;
/// Dropped records are logged at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What became of the records of a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopLogEnd {
    /// Lines written.
    pub written: u64,
    /// Records dropped because the file could not keep up.
    pub dropped: u64,
}

/// Writes every record as one line of JSON to `path` (appending), on a thread of its own, until the balancer is gone.
/// Lines are in the file as soon as no more records wait, so that it can be followed.
///
/// # Errors
///
/// If the file cannot be opened. What fails later ends the thread, and its handle returns it.
pub fn write_hops(path: &Path, hops: HopReceiver) -> io::Result<JoinHandle<io::Result<HopLogEnd>>> {
    let file = File::options().create(true).append(true).open(path)?;
    std::thread::Builder::new()
        .name("hop-log".to_owned())
        .spawn(move || drain(hops, BufWriter::new(file)))
}

fn drain(mut hops: HopReceiver, mut out: impl Write) -> io::Result<HopLogEnd> {
    let mut batch: Vec<Hop> = Vec::with_capacity(BATCH);
    let mut written = 0;
    let mut reported = 0;
    let mut next_report = Instant::now();
    loop {
        let count = hops.blocking_recv_many(&mut batch, BATCH);
        for hop in batch.drain(..) {
            serde_json::to_writer(&mut out, &hop)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        written += count as u64;
        let dropped = hops.dropped();
        if dropped > reported && (count == 0 || Instant::now() >= next_report) {
            tracing::warn!(dropped, "hop records were dropped: the file cannot keep up");
            reported = dropped;
            next_report = Instant::now() + REPORT_EVERY;
        }
        if count == 0 {
            return Ok(HopLogEnd { written, dropped });
        }
    }
}
