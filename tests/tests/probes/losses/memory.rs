//! What a kernel without memory for sockets refuses.
//!
//! What the probes keep of a socket counts towards what its options may take (`net.core.optmem_max`), which a network namespace may set for
//! its own sockets since 6.8.

use galileo_probes::{Config, Exchange, Feature, Ledger, Snapshot};
use galileo_tests::{
    pod::{Pod, Process},
    segments::home::Home,
    turn,
    wait::until,
    watch::{Watch, server_port},
    wire::Namespace,
};

/// Not even the first thing that is kept of a socket fits.
const NOTHING: &str = "512";
/// That fits, and nothing beside it: no head between two segments, no pipelined request.
const SOCKETS_ALONE: &str = "1500";

/// A connection to itself over loopback, of which each line says who writes what; the other end then reads that.
const TALK: &str = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
for line in sys.stdin:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for who, what in eval(line):
        source, target = (client, server) if who == "asks" else (server, client)
        source.sendall(what)
        assert target.recv(1000) == what
    print("done")
    sys.stdin.readline()
    client.close()
    server.recv(1)
    server.close()
    print("closed")
"#;

/// Probes that see this program's and its pods' sockets only, and a pod whose sockets may take so much memory.
struct Scarce {
    watch: Watch,
    talk: Process,
    port: u16,
    pod: Pod,
    // These go last.
    _namespace: Namespace,
    _home: Home,
}

impl Scarce {
    fn new(bytes: &str) -> Option<Self> {
        let home = Home::enter();
        let mut watch = Watch::start(&Config {
            cgroup_mount: Some(home.folder().to_owned()),
            ..Config::default()
        })?;
        // What is counted of the whole machine's tasks is not the test's.
        watch.probes.pause_feature(Feature::Cpu);
        let namespace = Namespace::new("127.0.0.1", "::1");
        if let Err(error) = namespace.try_run(&format!("sysctl -qw net.core.optmem_max={bytes}")) {
            galileo_skips::skip(error);
            return None;
        }
        let pod = Pod::inside(home.folder(), "scarce");
        let mut talk = pod.python_inside(&namespace, TALK, &[]);
        let port = talk.line().parse().expect("a port");
        Some(Self {
            watch,
            talk,
            port,
            pod,
            _namespace: namespace,
            _home: home,
        })
    }

    /// Has a connection, and returns what was counted while it was open, and the paths of the exchanges that were seen of it.
    fn talk(&mut self, lines: &str) -> (Snapshot, Vec<String>) {
        self.watch.seen(self.port);
        self.watch.forget();
        let before = self.watch.snapshot();
        assert_eq!(self.talk.ask(lines), "done");
        // An acknowledgement may be on its way still.
        let used = until("a moment without packets", || {
            let [one, two] = [(); 2].map(|()| self.watch.snapshot().since(&before));
            (one.ledger == two.ledger && one.cgroups[&self.pod.id] == two.cgroups[&self.pod.id])
                .then_some(two)
        });
        assert_eq!(self.talk.ask("close"), "closed");
        let seen = self.watch.stream.drain().iter();
        let seen = seen.filter(|one| server_port(one) == self.port);
        let path = |one: &Exchange| one.path.to_string();
        (used, seen.map(path).collect())
    }
}

/// What was counted, without what was not.
fn account(used: &Snapshot) -> Vec<(Ledger, u64)> {
    let counted = used.ledger.iter().filter(|(_, count)| **count != 0);
    counted.map(|(kind, count)| (*kind, *count)).collect()
}

#[test]
fn each_packet_and_each_end_of_a_socket_of_which_nothing_may_be_kept_is_counted() {
    let _turn = turn();
    let Some(mut scarce) = Scarce::new(NOTHING) else {
        return;
    };
    let (used, seen) = scarce.talk(
        r#"[("asks", b"GET / HTTP/1.1\r\n\r\n"), ("answers", b"HTTP/1.1 204 No Content\r\n\r\n")] * 5"#,
    );
    // Packets are counted all the same, and their cgroup.
    let stats = &used.cgroups[&scarce.pod.id];
    let packets = stats.rx_packets + stats.tx_packets;
    assert!(packets >= 2 * (3 + 10), "{packets}");
    // Three are the listener's, of which nothing is kept: the SYN, its answer, and the acknowledgement of that.
    let expected = [
        (Ledger::StorageFailed, packets - 3),
        (Ledger::ConnectionUnfollowed, 2),
    ];
    assert_eq!(account(&used), expected, "{packets} packets");
    assert_eq!(seen.len(), 0);
}

#[test]
fn heads_and_pipelined_requests_that_may_not_be_kept_are_counted_once_at_each_end() {
    let _turn = turn();
    let Some(mut scarce) = Scarce::new(SOCKETS_ALONE) else {
        return;
    };
    let whole = r#"("asks", b"GET /whole HTTP/1.1\r\n\r\n"), ("answers", b"HTTP/1.1 204 No Content\r\n\r\n")"#;
    let seen_of = |count: u64| {
        [
            (Ledger::ExchangesAttempted, count),
            (Ledger::ExchangesSeen, count),
        ]
    };

    // A request in two segments; the one behind its answer is seen.
    let (used, seen) = scarce.talk(
        &format!(
            r#"[("asks", b"GET /lost HTTP/1.1\r\nHost: a"), ("asks", b".b\r\n\r\n"),
            ("answers", b"HTTP/1.1 204 No Content\r\n\r\n"), {whole}]"#
        )
        .replace('\n', ""),
    );
    assert_eq!(seen, ["/whole", "/whole"]);
    let lost = [(Ledger::JoinedLate, 2), (Ledger::CarryLost, 2)];
    assert_eq!(account(&used), [seen_of(2), lost].concat());

    // An answer in two segments.
    let (used, seen) = scarce.talk(&format!(
        r#"[("asks", b"GET /lost HTTP/1.1\r\n\r\n"), ("answers", b"HTTP/1.1 204 No Content\r\nServer: a"),
            ("answers", b".b\r\n\r\n"), {whole}]"#
    ).replace('\n', ""));
    assert_eq!(seen, ["/whole", "/whole"]);
    let lost = [(Ledger::CarryLost, 2), (Ledger::GivenUp, 2)];
    assert_eq!(account(&used), [seen_of(2), lost].concat());

    // Five requests without waiting: the first is kept where every first one is.
    let (used, seen) = scarce.talk(&format!(
        r#"[("asks", b"GET /first HTTP/1.1\r\n\r\n")] + [("asks", b"GET /lost HTTP/1.1\r\n\r\n")] * 4
            + [("answers", b"HTTP/1.1 204 No Content\r\n\r\n")] * 5 + [{whole}]"#
    ).replace('\n', ""));
    assert_eq!(seen, ["/first", "/first", "/whole", "/whole"]);
    let lost = [(Ledger::JoinedLate, 8), (Ledger::PendingLost, 8)];
    assert_eq!(account(&used), [seen_of(4), lost].concat());
}
