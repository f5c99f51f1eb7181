//! How fast records are written and read, and what one takes on disk.
//!
//! `cargo run --release -p galileo-expdb --example write_rate -- 500000`

use std::path::Path;
use std::time::Instant;

use futures_util::TryStreamExt;
use galileo_expdb::{Database, Error, Format, Limits, New, Record};
use galileo_wire::{Exchange, Outcome, Phase, Role, Trace, WallClock};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let count = std::env::args()
        .nth(1)
        .and_then(|argument| argument.parse().ok())
        .unwrap_or(500_000);
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let database = Database::open(folder.path().join("galileo.db")).await?;

    write(&database, "traces", count, |number| {
        Record::Trace(trace(number))
    })
    .await?;
    write(&database, "exchanges", count, |number| {
        Record::Exchange(exchange(number))
    })
    .await?;

    let start = Instant::now();
    let read = database
        .stream_traces("traces")
        .try_fold(0, async |read, _| Ok(read + 1))
        .await?;
    println!("read       {:9.0} traces/s", per_second(read, start));

    export(&database, folder.path()).await?;

    let start = Instant::now();
    database.delete("exchanges").await?;
    println!(
        "deleted    {:9.0} exchanges/s, {} bytes left",
        per_second(count, start),
        database.size_bytes()?
    );
    Ok(())
}

/// Gives all records at once to a queue that has room for them, so that the writer sets the pace.
async fn write(
    database: &Database,
    id: &str,
    count: u64,
    record: impl Fn(u64) -> Record,
) -> Result<(), Error> {
    let (id, clock) = (id.to_owned(), WallClock::now());
    let new = New {
        id: id.clone(),
        name: id.clone(),
        creator: id.clone(),
        created_ns: 0,
        clock,
    };
    database.create_experiment(&new).await?;
    let before = database.size_bytes()?;
    let limits = Limits {
        queue: count as usize,
        ..Limits::default()
    };

    let (start, cpu) = (Instant::now(), cpu_ns());
    let recorder = database.recorder(&id, clock, limits).await?;
    let sender = recorder.sender();
    for number in 0..count {
        sender.record(record(number));
    }
    let given = per_second(count, start);
    let written = recorder.finish().await;
    let rate = per_second(count, start);
    let cpu_us = (cpu_ns() - cpu) / 1e3 / count as f64;
    let bytes = (database.size_bytes()? - before) as f64 / count as f64;
    println!(
        "wrote      {rate:9.0} {id}/s, {bytes:.0} bytes and {cpu_us:.1} µs of CPU each; given at {given:.0}/s, dropped {}",
        written.dropped()
    );
    Ok(())
}

async fn export(database: &Database, folder: &Path) -> Result<(), Error> {
    for format in [Format::Ndjson, Format::Csv] {
        let start = Instant::now();
        let exported = database.export("exchanges", format, folder, true).await?;
        let rows = exported.files.iter().map(|file| file.rows).sum();
        println!(
            "exported   {:9.0} exchanges/s as {}",
            per_second(rows, start),
            format.extension()
        );
    }
    Ok(())
}

fn per_second(count: u64, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

/// CPU time of this process so far, which says more than a rate if others want the CPU too.
fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// As the load generator makes them, times as after some weeks without a boot.
fn trace(number: u64) -> Trace {
    let created_ns = 2_000_000_000_000_000 + number * 50_000;
    Trace {
        request_id: format!("4f2a9c01d{:x}:{number}", number % 8),
        client: format!("0:web:{}", number % 8),
        service: "web".to_owned(),
        workload: 0,
        phase: Phase::Measured,
        created_ns,
        sent_ns: Some(created_ns + 41_000),
        first_byte_ns: Some(created_ns + 2_300_000),
        done_ns: Some(created_ns + 2_340_000),
        outcome: Outcome::Completed,
        status: Some(200),
        server: Some("127.0.0.1:40001".to_owned()),
        response_bytes: 612,
    }
}

fn exchange(number: u64) -> Exchange {
    let trace = trace(number);
    Exchange {
        role: Role::Server,
        service: Some("web".to_owned()),
        replica: Some("web-0".to_owned()),
        cgroup: "/galileo/202611250101-4f2a/web-0".to_owned(),
        phase: Phase::Measured,
        method: "GET".to_owned(),
        path: "/api/items".to_owned(),
        status: 200,
        local_addr: [127, 0, 0, 1].into(),
        local_port: 40_001,
        remote_addr: [127, 0, 0, 1].into(),
        remote_port: 51_234,
        start_ns: trace.created_ns + 150_000,
        request_end_ns: Some(trace.created_ns + 150_000),
        first_byte_ns: trace.created_ns + 2_200_000,
        end_ns: trace.created_ns + 2_250_000,
        request_bytes: 180,
        request_head_bytes: Some(180),
        response_bytes: 790,
        response_head_bytes: Some(178),
        request_id: Some(trace.request_id),
        flags: Vec::new(),
    }
}
