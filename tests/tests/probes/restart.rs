//! Probes that go and come again while connections stay.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use galileo_probes::{Config, Exchange, Ledger, Role};
use galileo_tests::{raise_file_limit, turn, wait::until, watch::Watch};

const CONNECTIONS: usize = 2_000;

/// Ends when this is dropped: connections of this process with itself, over each of which messages go in turn. The path of each tells its connection
/// and number; method and status follow from these, so that a wrong pair is seen.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
    port: u16,
}

/// The status with which request `number` of a connection is answered: one of ninety that may have a body.
fn status_of(connection: u64, number: u64) -> u16 {
    210 + u16::try_from((connection + number) % 90).unwrap()
}

fn method_of(number: u64) -> &'static str {
    ["GET", "POST", "DELETE"][number as usize % 3]
}

/// Connection and number of a path.
fn ids(path: &str) -> Option<(u64, u64)> {
    let (connection, number) = path.strip_prefix('/')?.split_once('/')?;
    Some((connection.parse().ok()?, number.parse().ok()?))
}

impl Traffic {
    fn start() -> Self {
        // Two ends each.
        raise_file_limit();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut pairs = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (server, _) = listener.accept().unwrap();
            for end in [&client, &server] {
                end.set_nodelay(true).unwrap();
                end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            }
            pairs.push((client, server));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let run = {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            move || converse(pairs, &stop, &answered)
        };
        Self {
            stop,
            answered,
            threads: vec![thread::spawn(run)],
            port,
        }
    }

    /// How many requests were answered.
    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // Its own panic was printed; this may be one as well.
            let _ = thread.join();
        }
    }
}

/// Passes some bytes of a message.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut read = vec![0; bytes.len()];
    to.read_exact(&mut read).unwrap();
}

fn request(connection: u64, number: u64) -> Vec<u8> {
    let method = method_of(number);
    format!("{method} /{connection}/{number} HTTP/1.1\r\nContent-Length: 10\r\n\r\nhi, server")
        .into()
}

fn answer(connection: u64, number: u64) -> Vec<u8> {
    let status = status_of(connection, number);
    format!("HTTP/1.1 {status} Any\r\nContent-Length: 10\r\n\r\nhi, client").into()
}

/// On each connection something is under way at all times: a request that waits for its answer, or a part of a head or a
/// body, by the number of the connection.
fn converse(mut pairs: Vec<(TcpStream, TcpStream)>, stop: &AtomicBool, answered: &AtomicU64) {
    let mut number = 0;
    // What of a message goes out first; the rest follows in the next round.
    let cut = |connection: u64, message: &[u8]| match connection % 4 {
        0 => message.len(),
        1 => message.len() - 4,
        2 => message.len() - 12,
        _ => 9,
    };
    for (connection, (client, server)) in (0..).zip(&mut pairs) {
        let message = request(connection, number);
        pass(client, server, &message[..cut(connection, &message)]);
    }
    while !stop.load(Ordering::SeqCst) {
        for (connection, (client, server)) in (0..).zip(&mut pairs) {
            let (asked, told) = (request(connection, number), answer(connection, number));
            pass(client, server, &asked[cut(connection, &asked)..]);
            pass(server, client, &told[..cut(connection, &told)]);
        }
        for (connection, (client, server)) in (0..).zip(&mut pairs) {
            let (told, next) = (answer(connection, number), request(connection, number + 1));
            pass(server, client, &told[cut(connection, &told)..]);
            pass(client, server, &next[..cut(connection, &next)]);
            answered.fetch_add(1, Ordering::SeqCst);
        }
        number += 1;
    }
}

/// Whether method, path and status belong together.
fn is_right(exchange: &Exchange) -> bool {
    ids(&exchange.path).is_some_and(|(connection, number)| {
        *exchange.method == *method_of(number) && exchange.status == status_of(connection, number)
    })
}

#[test]
fn probes_loaded_anew_amid_thousands_of_connections_pair_nothing_wrongly_and_count_what_is_partial()
{
    let _turn = turn();
    if Watch::start(&Config::default()).is_none() {
        return;
    }
    let traffic = Traffic::start();
    for _ in 0..3 {
        let mut watch = Watch::start(&Config {
            ring_bytes: 16 << 20,
            ..Config::default()
        })
        .unwrap();
        // Every connection has gone on for some exchanges.
        let begin = traffic.answered();
        until("all connections go on", || {
            watch.seen(traffic.port);
            (traffic.answered() > begin + 5 * CONNECTIONS as u64).then_some(())
        });
        let seen = watch.seen(traffic.port);
        let wrong: Vec<_> = seen.iter().filter(|exchange| !is_right(exchange)).collect();
        assert!(
            wrong.is_empty(),
            "{} wrong, as {:#?}",
            wrong.len(),
            wrong[0]
        );
        // Each once in each role, and of each connection without a gap from the first seen to the last.
        let mut numbers: BTreeMap<(bool, u64), Vec<u64>> = BTreeMap::new();
        for exchange in &seen {
            let (connection, number) = ids(&exchange.path).unwrap();
            let role = exchange.role == Role::Server;
            numbers.entry((role, connection)).or_default().push(number);
        }
        assert_eq!(numbers.len(), 2 * CONNECTIONS);
        for ((role, connection), numbers) in &mut numbers {
            numbers.sort_unstable();
            let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
            assert_eq!(
                numbers.len() as u64,
                last - first + 1,
                "server {role}, connection {connection}: {numbers:?}"
            );
        }
        // What was under way when the probes came gives answers without their requests, at both ends; and where only a body
        // was, its rest passes.
        let ledger = watch.snapshot().ledger;
        assert!(ledger[&Ledger::JoinedLate] > 0, "{ledger:?}");
        assert_eq!(ledger[&Ledger::RingFull], 0, "{ledger:?}");
    }
}
