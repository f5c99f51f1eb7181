//! A peer that does its worst costs bounded time, and harms no other connection's exchange.
//!
//! Beside what it does, a polite connection goes on whose messages come in parts: all of its exchanges must be seen in both
//! roles, whole and exact.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use galileo_oracle::dice::Dice;
use galileo_probes::{Config, Exchange, Ledger, Role, Snapshot};
use galileo_tests::{
    segments::home::Home,
    talk::Talk,
    turn, wait,
    watch::{Watch, of_role, server_port},
};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Probes that see this program's sockets only, and the polite connection.
struct Scene {
    talk: Talk,
    /// Path and id of its requests so far.
    said: Vec<(String, String)>,
    watch: Watch,
    polite: Vec<Exchange>,
    /// Exchanges of others, by role.
    others: [u64; 2],
    before: Snapshot,
    // Goes last, as the probes are attached to it.
    _home: Home,
}

impl Scene {
    fn new() -> Option<Self> {
        let home = Home::enter();
        let watch = Watch::start(&Config {
            statistics: true,
            cgroup_mount: Some(home.folder().to_owned()),
            ..Config::default()
        })?;
        let before = watch.snapshot();
        Some(Self {
            talk: Talk::new(),
            said: Vec::new(),
            watch,
            polite: Vec::new(),
            others: [0; 2],
            before,
            _home: home,
        })
    }

    /// The polite connection's request, so far as `head` says; what is hostile happens between its parts.
    fn exchange(&mut self, hostile: impl FnOnce(&mut Self)) {
        let number = self.said.len();
        let (path, id) = (format!("/polite/{number}"), format!("id-{number}"));
        let request = format!("GET {path} HTTP/1.1\r\nx-galileo-request-id: {id}\r\n\r\n");
        let (first, rest) = request.split_at(40);
        self.talk.ask(first.as_bytes());
        hostile(self);
        self.talk.ask(rest.as_bytes());
        self.talk.answer(ANSWER);
        self.said.push((path, id));
        self.drain();
    }

    /// Requests without waiting, answers in parts; what is hostile happens before the first answer.
    fn pipelined(&mut self, count: usize, hostile: impl FnOnce(&mut Self)) {
        let first = self.said.len();
        for number in first..first + count {
            let (path, id) = (format!("/polite/{number}"), format!("id-{number}"));
            let request = format!("GET {path} HTTP/1.1\r\nx-galileo-request-id: {id}\r\n\r\n");
            self.talk.ask(request.as_bytes());
            self.said.push((path, id));
        }
        hostile(self);
        for _ in 0..count {
            let (one, two) = ANSWER.split_at(20);
            self.talk.answer(one);
            self.talk.answer(two);
        }
        self.drain();
    }

    fn drain(&mut self) {
        for exchange in self.watch.stream.drain() {
            if server_port(exchange) == self.talk.port {
                self.polite.push(*exchange);
            } else {
                self.others[usize::from(exchange.role == Role::Client)] += 1;
            }
        }
    }

    /// Holds what was seen of the polite connection against what was said, and returns what was counted since the begin.
    fn check(&mut self) -> Snapshot {
        // The hooks have run when a write returns, so what is not there soon does not come.
        let end = Instant::now() + Duration::from_secs(1);
        while self.polite.len() < 2 * self.said.len() && Instant::now() < end {
            self.drain();
        }
        let since = self.watch.snapshot().since(&self.before);
        for role in [Role::Server, Role::Client] {
            let seen: Vec<_> = of_role(&self.polite, role)
                .iter()
                .map(|exchange| {
                    let id = exchange.request_id.unwrap_or_default().to_string();
                    let bytes = (exchange.response_bytes, exchange.request_bytes);
                    (exchange.path.to_string(), id, exchange.status, bytes)
                })
                .collect();
            let expected: Vec<_> = self
                .said
                .iter()
                .map(|(path, id)| {
                    let request =
                        format!("GET {path} HTTP/1.1\r\nx-galileo-request-id: {id}\r\n\r\n");
                    let bytes = (ANSWER.len() as u64, request.len() as u64);
                    (path.clone(), id.clone(), 200, bytes)
                })
                .collect();
            assert_eq!(seen, expected, "{role:?} {:?}", since.ledger);
        }
        let ledger = &since.ledger;
        assert_eq!(
            ledger[&Ledger::ExchangesAttempted],
            ledger[&Ledger::ExchangesSeen] + ledger[&Ledger::RingFull]
        );
        for program in since.programs.iter().filter(|program| program.runs > 0) {
            let each = program.time_ns / program.runs;
            println!("{}: {} runs of {each} ns", program.name, program.runs);
            // Far above what a run takes on a slow machine, far below what an unbounded one would.
            if matches!(program.name.as_str(), "ingress" | "egress") {
                assert!(each < 200_000, "{program:?}");
            }
        }
        since
    }
}

/// Where hostile clients connect to.
struct Target {
    listener: TcpListener,
    address: SocketAddr,
}

impl Target {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        Self { listener, address }
    }

    /// A connection, client and server.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.address).expect("the listener accepts");
        let (server, _) = self.listener.accept().expect("the client connects");
        for end in [&client, &server] {
            end.set_nodelay(true).expect("a TCP socket");
        }
        (client, server)
    }

    /// As [`Target::connect`], from this address and port, 0 for any.
    fn connect_from(&self, address: Ipv4Addr, port: u16) -> (TcpStream, TcpStream) {
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&client, true).expect("a TCP socket");
        bind(&client, &SocketAddr::from((address, port))).expect("an address of loopback");
        connect(&client, &self.address).expect("the listener accepts");
        let (server, _) = self.listener.accept().expect("the client connects");
        (client.into(), server)
    }
}

/// Closes with a reset, so that the port is free at once.
fn reset(end: TcpStream) {
    sockopt::set_socket_linger(&end, Some(Duration::ZERO)).expect("a TCP socket");
    drop(end);
}

#[test]
fn thousands_of_unfinished_heads_harm_no_other_connection() {
    let _turn = turn();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let target = Target::new();
    let mut ends = Vec::new();
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
        scene.exchange(|_| {
            let (mut client, mut server) = target.connect();
            client.write_all(begin).expect("the connection holds");
            server
                .read_exact(&mut vec![0; begin.len()])
                .expect("the connection holds");
            let mut bytes = rest.repeat(16_000 / rest.len());
            for _ in 0..200 {
                client.write_all(&bytes).expect("the connection holds");
                server.read_exact(&mut bytes).expect("the connection holds");
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
    let since = scene.check();
    assert_eq!(scene.others, [u64::from(CONNECTIONS); 2]);
    assert_eq!(since.ledger[&Ledger::StorageFailed], 0);
    assert_eq!(since.ledger[&Ledger::RingFull], 0);
}
