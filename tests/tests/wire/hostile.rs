//! A peer that does its worst costs bounded time and memory, and harms no other connection's exchange.
//!
//! Beside what it does, a polite connection goes on whose messages come in parts: all of its exchanges must be seen in both
//! roles, whole and exact.

mod held;
mod scene;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::Ipv4Addr,
};

use galileo_oracle::dice::Dice;
use galileo_probes::{Ledger, Role, Tables};
use galileo_tests::{maps, raise_file_limit, turn, wait, watch::of_role};

use scene::{ANSWER, Scene, Target, reset};

/// What the probes take of memory.
struct Taken {
    tables: Tables,
    /// Bytes of each map by its number, as the kernel tells.
    maps: BTreeMap<u32, usize>,
    rss_bytes: u64,
    /// Bytes for sockets, theirs and others'.
    charged_bytes: u64,
}

impl Taken {
    /// After what was to read is read.
    fn now(scene: &mut Scene) -> Self {
        scene.drain();
        scene.watch.snapshot();
        Self {
            tables: scene.watch.probes.tables(),
            maps: maps::told(),
            rss_bytes: scene.watch.probes.memory().rss_bytes,
            charged_bytes: maps::charged_bytes(),
        }
    }

    /// Holds what is taken with so many sockets open against this: no table fuller, no map larger, the process as large as it
    /// was, and so much for each socket.
    fn check(&self, scene: &mut Scene, sockets: u64) {
        let now = Self::now(scene);
        println!(
            "{sockets} sockets open: process {} kB, then {}; for sockets {} kB, then {}; {:?}",
            self.rss_bytes >> 10,
            now.rss_bytes >> 10,
            self.charged_bytes >> 10,
            now.charged_bytes >> 10,
            now.tables
        );
        // Cgroups and pairs of the machine come and go; an interface or a connection of the listener's would be the peer's.
        assert_eq!(now.tables.interfaces, self.tables.interfaces);
        assert_eq!(now.tables.first_data, self.tables.first_data);
        assert_eq!(now.maps, self.maps);
        assert!(
            now.rss_bytes < self.rss_bytes + PROCESS_BYTES,
            "{} B, then {} B",
            self.rss_bytes,
            now.rss_bytes
        );
        // Sockets go some time after they were closed.
        let most = self.charged_bytes + sockets * SOCKET_BYTES + OTHERS_BYTES;
        wait::until("sockets take no more memory than they may", || {
            (maps::charged_bytes() < most).then_some(())
        });
    }
}

/// What the process may grow by, which keeps nothing of a connection; its records are read as they come.
const PROCESS_BYTES: u64 = 4 << 20;
/// What a socket with the begin of a head may take in the kernel; 2.2 kB were measured, of storages, of what TCP itself keeps of it
/// and of what it has not read.
const SOCKET_BYTES: u64 = 8 << 10;
/// What the rest of the machine may take meanwhile.
const OTHERS_BYTES: u64 = 8 << 20;

#[test]
fn thousands_of_unfinished_heads_harm_no_other_connection() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    raise_file_limit();
    let target = Target::new();
    let mut ends = Vec::with_capacity(5000);
    let before = Taken::now(&mut scene);
    for begin in [&b"G"[..], b"GET /x HTTP/1.1\r\nHost"] {
        scene.exchange(|_| {
            for _ in 0..2500 {
                let (mut client, server) = target.connect();
                client.write_all(begin).expect("the connection holds");
                ends.push((client, server));
            }
        });
        scene.pipelined(3, |_| {
            for (client, _) in &mut ends {
                client.write_all(b"T").expect("the connection holds");
            }
        });
    }
    // All five thousand are open.
    before.check(&mut scene, 10_000);
    drop(ends);
    before.check(&mut scene, 0);
    let since = scene.check();
    assert_eq!(since.ledger[&Ledger::CarryLost], 0);
}

#[test]
fn thousands_of_pipelined_requests_harm_no_other_connection() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    let mut ends = Vec::new();
    let requests = b"GET /x HTTP/1.1\r\n\r\n".repeat(10);
    scene.pipelined(8, |_| {
        for _ in 0..100 {
            let (mut client, mut server) = target.connect();
            for _ in 0..20 {
                client.write_all(&requests).expect("the connection holds");
                server
                    .read_exact(&mut vec![0; requests.len()])
                    .expect("the connection holds");
            }
            ends.push((client, server));
        }
    });
    scene.check();
}

#[test]
fn random_bytes_are_left_alone() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    let mut dice = Dice::new(1);
    for _ in 0..20 {
        scene.exchange(|_| {
            for _ in 0..20 {
                let (mut client, mut server) = target.connect();
                for _ in 0..dice.between(1, 40) {
                    let mut bytes = {
                        let length = dice.between(1, 3000);
                        dice.bytes(length)
                    };
                    // What begins like a message costs more.
                    let begin: &[u8] = match dice.below(4) {
                        0 => b"GET ",
                        1 => b"HTTP/1.1 ",
                        2 => b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                        _ => b"",
                    };
                    bytes.splice(..0, begin.iter().copied());
                    let (from, to) = if dice.one_in(2) {
                        (&mut client, &mut server)
                    } else {
                        (&mut server, &mut client)
                    };
                    from.write_all(&bytes).expect("the connection holds");
                    to.read_exact(&mut bytes).expect("the connection holds");
                }
                if dice.one_in(2) {
                    reset(client);
                }
            }
        });
    }
    scene.check();
    // A request line that is one, and an answer to it, may come about; a hundred of them do not.
    assert!(
        scene.others[0] + scene.others[1] < 100,
        "{:?}",
        scene.others
    );
}

#[test]
fn endless_heads_and_endless_lines_take_bounded_time() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    for (begin, rest) in [
        (&b"GET /"[..], &b"a"[..]),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X-Line: 1\r\n"),
        (b"", b"\r\n"),
        (b"", b"GET / HTTP/1.1\r\n\r\n"),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\na\r\n",
        ),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X-Line: 1\r\n",
        ),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;",
        ),
    ] {
        scene.exchange(|scene| {
            let (mut client, mut server) = target.connect();
            client.write_all(begin).expect("the connection holds");
            server
                .read_exact(&mut vec![0; begin.len()])
                .expect("the connection holds");
            let mut bytes = rest.repeat(16_000 / rest.len());
            for _ in 0..200 {
                client.write_all(&bytes).expect("the connection holds");
                server.read_exact(&mut bytes).expect("the connection holds");
                scene.look();
            }
        });
    }
    scene.check();
}

#[test]
fn a_port_reused_at_once_brings_nothing_from_the_connection_before() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    let from = Ipv4Addr::new(127, 0, 0, 77);
    let port = galileo_tests::free_port();
    let mut expected = Vec::new();
    for number in 0..500 {
        let (mut client, mut server) = target.connect_from(from, port);
        if number % 2 == 0 {
            // Left in the midst of a head, of a body, of an answer.
            let left: &[u8] = [
                &b"GET /left HTTP/1.1\r\nHost: x"[..],
                b"POST /left HTTP/1.1\r\nContent-Length: 99999\r\n\r\nabc",
                b"GET /left HTTP/1.1\r\n\r\nGET /left HTTP/1.1\r\n\r\n",
            ][number / 2 % 3];
            client.write_all(left).expect("the connection holds");
            server
                .read_exact(&mut vec![0; left.len()])
                .expect("the connection holds");
            server
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Le")
                .expect("the connection holds");
        } else {
            let path = format!("/new/{number}");
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            client
                .write_all(request.as_bytes())
                .expect("the connection holds");
            server
                .read_exact(&mut vec![0; request.len()])
                .expect("the connection holds");
            server.write_all(ANSWER).expect("the connection holds");
            client
                .read_exact(&mut [0; ANSWER.len()])
                .expect("the connection holds");
            expected.push(path);
        }
        reset(client);
        // The server's end is gone once it reads that.
        assert!(server.read(&mut [0]).is_err());
    }
    let mut found = Vec::new();
    wait::try_until(|| {
        found.extend(scene.watch.stream.drain());
        (found.len() >= 2 * expected.len()).then_some(())
    });
    for role in [Role::Server, Role::Client] {
        let paths: Vec<_> = of_role(&found, role)
            .iter()
            .map(|exchange| exchange.path.to_string())
            .collect();
        assert_eq!(paths, expected, "{role:?}");
    }
    scene.check();
}

#[test]
fn a_hundred_thousand_connections_leave_nothing_behind() {
    const CONNECTIONS: u32 = 100_000;
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    let before = Taken::now(&mut scene);
    let request = b"GET /one HTTP/1.1\r\n\r\n";
    for round in 0..CONNECTIONS / 1000 {
        scene.exchange(|scene| {
            for number in 0..1000 {
                let from = Ipv4Addr::from(0x7f00_0002 + (round * 1000 + number) / 500);
                let (mut client, mut server) = target.connect_from(from, 0);
                client.write_all(request).expect("the connection holds");
                server
                    .read_exact(&mut [0; 21])
                    .expect("the connection holds");
                server.write_all(ANSWER).expect("the connection holds");
                client
                    .read_exact(&mut [0; ANSWER.len()])
                    .expect("the connection holds");
                reset(client);
            }
            scene.drain();
        });
    }
    before.check(&mut scene, 0);
    let since = scene.check();
    assert_eq!(scene.others, [u64::from(CONNECTIONS); 2]);
    let lost: Vec<_> = since
        .ledger
        .iter()
        .filter(|(kind, count)| kind.is_loss() && **count > 0)
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}
