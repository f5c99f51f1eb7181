//! A polite connection, and what a hostile peer needs beside it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use galileo_probes::{Config, Exchange, Ledger, ProgramCost, Role, Snapshot};
use galileo_tests::{
    segments::home::Home,
    talk::Talk,
    watch::{Watch, of_role, server_port},
};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

/// What every exchange is answered by.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Probes that see this program's sockets only, and the polite connection.
pub struct Scene {
    talk: Talk,
    /// Path and id of its requests so far.
    said: Vec<(String, String)>,
    pub watch: Watch,
    polite: Vec<Exchange>,
    /// Exchanges of others, by role.
    pub others: [u64; 2],
    before: Snapshot,
    /// Time in the packet hooks between two looks: no run within took longer.
    spans: Spans,
    // Goes last, as the probes are attached to it.
    home: Home,
}

impl Scene {
    pub fn new() -> Option<Self> {
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
            spans: Spans::default(),
            home,
        })
    }

    /// The cgroup that the probes are attached to.
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// The polite connection's request, so far as `head` says; what is hostile happens between its parts.
    pub fn exchange(&mut self, hostile: impl FnOnce(&mut Self)) {
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
    pub fn pipelined(&mut self, count: usize, hostile: impl FnOnce(&mut Self)) {
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

    pub fn drain(&mut self) {
        for exchange in self.watch.stream.drain() {
            if server_port(exchange) == self.talk.port {
                self.polite.push(*exchange);
            } else {
                self.others[usize::from(exchange.role == Role::Client)] += 1;
            }
        }
    }

    /// Looks at the time that the packet hooks took since the last look.
    pub fn look(&mut self) {
        self.spans.look(&self.watch.probes.programs());
    }

    /// Holds what was seen of the polite connection against what was said, and returns what was counted since the begin.
    pub fn check(&mut self) -> Snapshot {
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
            if HOOKS.contains(&program.name.as_str()) {
                assert!(each < BOUND_NS, "{program:?}");
            }
        }
        self.spans.check();
        since
    }
}

/// The programs that see every packet; those that they go on in are timed with them.
const HOOKS: [&str; 2] = ["ingress", "egress"];

/// Far above what a run takes on a slow machine, far below what an unbounded one would.
const BOUND_NS: u64 = 200_000;

/// What the kernel's sums tell of single runs.
#[derive(Default)]
struct Spans {
    before: BTreeMap<String, (u64, u64)>,
    /// Runs and their time between two looks, where there were any.
    between: Vec<(u64, u64)>,
}

impl Spans {
    fn look(&mut self, programs: &[ProgramCost]) {
        for program in programs {
            if !HOOKS.contains(&program.name.as_str()) {
                continue;
            }
            let now = (program.runs, program.time_ns);
            let before = self.before.insert(program.name.clone(), now);
            if let Some((runs, time_ns)) = before
                && now.0 > runs
            {
                self.between.push((now.0 - runs, now.1 - time_ns));
            }
        }
    }

    /// The time between two looks is that of a few runs; what interrupts a run is in it, too, and is seldom: a tick, or the host.
    fn check(&mut self) {
        self.between.sort_unstable_by_key(|(_, time_ns)| *time_ns);
        let Some((last_runs, last_ns)) = self.between.last() else {
            return;
        };
        let (runs, time_ns) = self.between[self.between.len() * 95 / 100];
        println!(
            "of {} times between two looks, 95 in 100 are up to {time_ns} ns in {runs} runs, the longest is {last_ns} ns in {last_runs}",
            self.between.len()
        );
        assert!(time_ns < BOUND_NS, "{time_ns} ns in {runs} runs");
    }
}

/// Where hostile clients connect to.
pub struct Target {
    listener: TcpListener,
    address: SocketAddr,
}

impl Target {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        Self { listener, address }
    }

    /// A connection, client and server.
    pub fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.address).expect("the listener accepts");
        let (server, _) = self.listener.accept().expect("the client connects");
        for end in [&client, &server] {
            end.set_nodelay(true).expect("a TCP socket");
        }
        (client, server)
    }

    /// As [`Target::connect`], from this address and port, 0 for any.
    pub fn connect_from(&self, address: Ipv4Addr, port: u16) -> (TcpStream, TcpStream) {
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&client, true).expect("a TCP socket");
        bind(&client, &SocketAddr::from((address, port))).expect("an address of loopback");
        connect(&client, &self.address).expect("the listener accepts");
        let (server, _) = self.listener.accept().expect("the client connects");
        (client.into(), server)
    }
}

/// Closes with a reset, so that the port is free at once.
pub fn reset(end: TcpStream) {
    sockopt::set_socket_linger(&end, Some(Duration::ZERO)).expect("a TCP socket");
    drop(end);
}
