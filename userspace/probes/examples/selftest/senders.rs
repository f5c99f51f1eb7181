//! Tasks that send on one CPU without ever sleeping, so that each is preempted when its slice ends: where the kernel is fully
//! preemptible within the programs, too, and they leave these in any order.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use galileo_probes::{Ledger, Probes};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{Outcome, report::Report};

/// As many as have a work space each, and leave one to what is received meanwhile.
const TASKS: usize = 3;
/// Of each task.
const EXCHANGES: u64 = 1500;

/// Of a line in each head: the longer heads are, the more of the time is spent in the programs.
const PADDING: usize = 7_000;

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
    let tasks = pairs
        .into_iter()
        .map(|(client, server)| thread::spawn(move || converse(&client, &server)));
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

/// Speaks with itself on the first CPU.
fn converse(client: &TcpStream, server: &TcpStream) -> std::io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    let padding = "p".repeat(PADDING);
    let request = format!("GET /sender HTTP/1.1\r\nX-Pad: {padding}\r\n\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\nX-Pad: {padding}\r\nContent-Length: 0\r\n\r\n");
    for _ in 0..EXCHANGES {
        for (mut from, mut to, message) in [(client, server, &request), (server, client, &answer)] {
            from.write_all(message.as_bytes())?;
            to.read_exact(&mut vec![0; message.len()])?;
        }
    }
    Ok(())
}
