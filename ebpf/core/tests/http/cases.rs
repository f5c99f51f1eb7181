//! Single cases with a name, mostly faults that other programs had.

mod ending;
mod framing;
mod heads;
mod joined;
mod losses;
mod order;
mod steps;

use crate::driver::{Connection, Seen};

/// Requests and answers in turn, each as one segment; seen as a server.
fn talk(turns: &[(u32, &[u8])]) -> Connection {
    talk_on(Connection::new(), turns)
}

fn talk_on(mut connection: Connection, turns: &[(u32, &[u8])]) -> Connection {
    for (now, (direction, bytes)) in (1..).zip(turns) {
        connection.segment(*direction, now, bytes);
    }
    connection
}

const ASK: u32 = 0;
const ANSWER: u32 = 1;

fn lines(seen: &[Seen]) -> Vec<(&str, &str, u16)> {
    seen.iter()
        .map(|seen| (seen.method.as_str(), seen.path.as_str(), seen.status))
        .collect()
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
