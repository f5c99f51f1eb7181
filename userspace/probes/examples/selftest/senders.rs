//! Tasks that send on one CPU and wake at any moment: where the kernel is fully preemptible, one may preempt another within the
//! programs, and they leave these in any order.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use galileo_probes::{Ledger, Probes};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{Outcome, report::Report};

/// More than a CPU has work spaces.
const TASKS: usize = 12;
/// Of each task.
const EXCHANGES: u64 = 100;

const REQUEST: &[u8] = b"GET /sender HTTP/1.1\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub(crate) fn check(probes: &Probes) -> Outcome {
    let before = probes.snapshot()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut pairs = Vec::new();
    for _ in 0..TASKS {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        pairs.push((client, server));
    }
    let tasks = (1..).zip(pairs).map(|(number, (client, server))| {
        thread::spawn(move || converse(client, server, Duration::from_micros(40 * number)))
    });
    for task in tasks.collect::<Vec<_>>() {
        task.join().map_err(|_| "a sending task panicked")??;
    }
    let ledger = probes.snapshot()?.since(&before).ledger;
    let count = |kind| ledger.get(&kind).copied().unwrap_or(0);
    let attempted = count(Ledger::ExchangesAttempted);
    let expected = 2 * TASKS as u64 * EXCHANGES;
    Report::check(
        "every exchange of tasks that preempt one another is seen in both roles",
        attempted == expected,
        &format!("{attempted} of {expected}"),
    );
    let busy = count(Ledger::ScratchBusy);
    Report::check(
        "tasks that preempt one another find a work space",
        busy == 0,
        &format!("{busy} segments found none"),
    );
    Ok(())
}

/// Speaks with itself, with a pause before each message, on the first CPU.
fn converse(client: TcpStream, server: TcpStream, pause: Duration) -> std::io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    for _ in 0..EXCHANGES {
        for (mut from, mut to, message) in [(&client, &server, REQUEST), (&server, &client, ANSWER)]
        {
            thread::sleep(pause);
            from.write_all(message)?;
            to.read_exact(&mut vec![0; message.len()])?;
        }
    }
    Ok(())
}
