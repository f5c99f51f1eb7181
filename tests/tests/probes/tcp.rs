//! TCP connections: what becomes of them, and how well they go.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use galileo_probes::{
    Config, Connection, ConnectionStream, End, Ledger, NetworkNamespace, Origin, TcpStats, sockets,
};
use galileo_tests::{
    free_port,
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::Watch,
    wire::Wire,
};

/// Probes whose connections are read.
struct Connections {
    watch: Watch,
    stream: ConnectionStream,
    seen: Vec<Connection>,
}

impl Connections {
    fn start(config: &Config) -> Option<Self> {
        let mut watch = Watch::start(config)?;
        let stream = {
            let _inside = watch.runtime.enter();
            watch.probes.connections().unwrap()
        };
        Some(Self {
            watch,
            stream,
            seen: Vec::new(),
        })
    }

    /// Waits until so many connections of a pod have ended.
    fn ended(&mut self, pod: &Pod, count: usize) -> Vec<Connection> {
        let what = format!("{count} connections have ended");
        let ended = until(&what, || {
            self.seen.extend(self.stream.drain());
            let of_pod = self.seen.iter().filter(|one| one.cgroup == pod.id);
            let of_pod: Vec<_> = of_pod.cloned().collect();
            (of_pod.len() >= count).then_some(of_pod)
        });
        assert_eq!(ended.len(), count, "{ended:#?}");
        ended
    }

    fn stats(&self, pod: &Pod) -> TcpStats {
        let cgroups = self.watch.snapshot().cgroups;
        cgroups
            .get(&pod.id)
            .map(|stats| stats.tcp.clone())
            .unwrap_or_default()
    }
}

/// A client told what to do by lines of Python, with the address to talk to in `peer`. `say` answers.
const CLIENT: &str = r#"
import fcntl, socket, struct, sys, termios, time
peer = (sys.argv[1], int(sys.argv[2]))
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
say = lambda *words: print(*words, flush=True)
def total_retrans(end):
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 100)[0]
def reorderings(end):
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 220)[0]
def unacked(end):
    return struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, b"\0" * 4))[0]
def wait_for_acks(end):
    while unacked(end): time.sleep(0.002)
say("ready")
for line in sys.stdin:
    exec(line.strip())
"#;

/// A server that answers each connection with as many bytes as it got, when the other end is done; in a thread for each.
const SERVER: &str = r#"
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=128)
print("ready")
def serve(end):
    total = 0
    try:
        while data := end.recv(1 << 16):
            total += len(data)
        end.sendall(b"x" * total)
        end.close()
    except ConnectionResetError:
        pass
while True:
    end, _ = listener.accept()
    threading.Thread(target=serve, args=(end,)).start()
"#;

fn ready(mut process: Process) -> Process {
    assert_eq!(process.line(), "ready");
    process
}

#[test]
fn connections_are_counted_at_both_ends_and_told_when_they_end() {
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    for host in ["127.0.0.1", "::1"] {
        let port = free_port();
        let [here, there] = ["client", "server"].map(Pod::new);
        let arguments = [host, &port.to_string()];
        let _server = ready(there.python(SERVER, &arguments));
        let mut client = ready(here.python(CLIENT, &arguments));
        client.say("ends = [socket.create_connection(peer) for _ in range(5)]");
        client.say("[end.sendall(b'y' * 1000) for end in ends]; [wait_for_acks(end) for end in ends]; say('sent')");
        assert_eq!(client.line(), "sent");
        let open = (connections.stats(&here), connections.stats(&there));
        assert_eq!(
            (open.0.connected, open.0.accepted, open.0.open()),
            (5, 0, 5)
        );
        // The server has sent nothing yet: its round trip is not measured, whose connections they are not known.
        assert_eq!((open.1.connected, open.1.closed), (0, 0));

        client.say("[end.shutdown(socket.SHUT_WR) for end in ends]; say(sum(len(end.recv(4096, socket.MSG_WAITALL)) for end in ends))");
        assert_eq!(client.line(), "5000");
        client.say("[end.close() for end in ends]; say('closed')");
        assert_eq!(client.line(), "closed");

        for (pod, origin) in [(&here, Origin::Local), (&there, Origin::Remote)] {
            for ended in connections.ended(pod, 5) {
                assert_eq!((ended.end, ended.origin), (End::Closed, origin));
                let address = SocketAddr::new(host.parse().unwrap(), port);
                let (own, peer) = match origin {
                    Origin::Local => (ended.remote, ended.local),
                    Origin::Remote => (ended.local, ended.remote),
                };
                assert_eq!((own, peer.ip()), (address, address.ip()));
                assert_ne!(peer.port(), port);
                // SYN and FIN may count as a byte each.
                assert!((1000..=1002).contains(&ended.bytes_received), "{ended:?}");
                assert!((1000..=1002).contains(&ended.bytes_acked), "{ended:?}");
                assert!(ended.established_ns.unwrap() >= ended.begin_ns);
                assert!(ended.end_ns > ended.established_ns.unwrap());
                assert!(ended.rtt.unwrap() >= ended.min_rtt.unwrap());
                assert!(ended.data_segments_in > 0 && ended.data_segments_out > 0);
                assert!(ended.timeouts <= ended.retransmits);
            }
            let stats = connections.stats(pod);
            let opened = [stats.connected, stats.accepted];
            assert_eq!(
                opened,
                if origin == Origin::Local {
                    [5, 0]
                } else {
                    [0, 5]
                }
            );
            assert_eq!((stats.closed, stats.aborted, stats.failed()), (5, 0, 0));
            assert_eq!(stats.rtt.count(), 5);
            assert!(stats.established_ns > 0 && stats.data_segments >= 5);
        }
    }
}

#[test]
fn attempts_that_fail_are_told_apart() {
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    let wire = Wire::new();
    // Few SYNs; how many depends on the kernel's version.
    wire.left.set("net.ipv4.tcp_syn_retries", "1");
    wire.right.filter(
        "table inet silent {\nchain in { type filter hook input priority 0; tcp dport 81 drop; }\n}\n",
    );
    for (host, port) in [("10.9.0.2", "80"), ("fd09::2", "80")] {
        let pod = Pod::new("client");
        let before = wire.left.counter("TcpRetransSegs");
        let mut client = ready(pod.python_inside(&wire.left, CLIENT, &[host, port]));
        // Nobody listens on 80; nothing is heard of 81, of which the second attempt does not wait for the end.
        client.say("end = socket.socket(family); say(end.connect_ex(peer))");
        assert_eq!(client.line(), "111", "ECONNREFUSED");
        client.say("other = socket.socket(family); other.setblocking(False); say(other.connect_ex((peer[0], 81)))");
        assert_eq!(client.line(), "115", "EINPROGRESS");
        client.say("other.close(); say('closed')");
        assert_eq!(client.line(), "closed");
        client.say("end = socket.socket(family); say(end.connect_ex((peer[0], 81)))");
        assert_eq!(client.line(), "110", "ETIMEDOUT");

        let ended = connections.ended(&pod, 3);
        let syns = (wire.left.counter("TcpRetransSegs") - before) as u32;
        assert!(syns > 0);
        let ends: Vec<_> = ended
            .iter()
            .map(|one| (one.remote.port(), one.end))
            .collect();
        assert_eq!(
            ends,
            [
                (80, End::Refused),
                (81, End::Abandoned),
                (81, End::TimedOut),
            ]
        );
        assert!(ended[2].retransmits > 0 && ended[2].retransmits == ended[2].timeouts);
        assert_eq!(ended.iter().map(|one| one.retransmits).sum::<u32>(), syns);
        for one in &ended {
            assert_eq!((one.origin, one.established_ns), (Origin::Local, None));
        }
        let stats = connections.stats(&pod);
        let failed = [stats.refused, stats.abandoned, stats.timed_out];
        assert_eq!((failed, stats.failed()), ([1, 1, 1], 3));
        assert_eq!(
            [stats.connected, stats.closed, stats.rtt.count()],
            [0, 0, 0]
        );
        assert_eq!([stats.retransmits, stats.timeouts], [u64::from(syns); 2]);
    }
}

#[test]
fn a_reset_ends_both_ends_before_their_time() {
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    let port = free_port().to_string();
    let [here, there] = ["client", "server"].map(Pod::new);
    let _server = ready(there.python(SERVER, &["127.0.0.1", &port]));
    let mut client = ready(here.python(CLIENT, &["127.0.0.1", &port]));
    client.say("end = socket.create_connection(peer); end.sendall(b'y'); wait_for_acks(end)");
    client.say(
        "end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); end.close()",
    );
    for pod in [&here, &there] {
        let [ended] = &connections.ended(pod, 1)[..] else {
            unreachable!("one was waited for");
        };
        assert_eq!(ended.end, End::Reset);
        let stats = connections.stats(pod);
        assert_eq!([stats.closed, stats.aborted, stats.open()], [1, 1, 0]);
    }
}

#[test]
fn what_a_wire_loses_is_retransmitted_and_counted_as_the_kernel_counts_it() {
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    for (host, family) in [("10.9.0.2", "ip"), ("fd09::2", "ip6")] {
        let wire = Wire::new();
        let [here, there] = ["client", "server"].map(Pod::new);
        let _server = ready(there.python_inside(&wire.right, SERVER, &[host, "80"]));
        let mut client = ready(here.python_inside(&wire.left, CLIENT, &[host, "80"]));
        // One of ten packets with data, from the client to the server.
        wire.right.filter(&format!(
            "table {family} loss {{\nchain in {{ type filter hook input priority 0; \
             tcp dport 80 meta length > 1000 numgen inc mod 10 == 0 counter drop; }}\n}}\n"
        ));
        client.say("end = socket.create_connection(peer); end.sendall(b'y' * 3000000)");
        client.say("end.shutdown(socket.SHUT_WR); wait_for_acks(end); say(total_retrans(end))");
        let kernel: u64 = client.line().parse().unwrap();
        let stats = connections.stats(&here);
        assert!(kernel > 0);
        assert_eq!(stats.retransmits, kernel);
        assert_eq!(wire.left.counter("TcpRetransSegs"), kernel);
        client.say("say(len(end.recv(4000000, socket.MSG_WAITALL))); end.close()");
        assert_eq!(client.line(), "3000000");

        let ended = connections.ended(&here, 1).remove(0);
        let stats = connections.stats(&here);
        assert_eq!(u64::from(ended.retransmits), stats.retransmits);
        assert_eq!(u64::from(ended.timeouts), stats.timeouts);
        assert!(stats.timeouts <= stats.retransmits);
        assert_eq!(u64::from(ended.data_segments_out), stats.data_segments);
        // Nothing that the server sent was lost; on a busy machine the kernel may still take an answer for late.
        let sent_again = wire.right.counter("TcpRetransSegs");
        assert_eq!(
            connections.ended(&there, 1)[0].retransmits,
            sent_again as u32
        );
        assert_eq!(connections.stats(&there).retransmits, sent_again);
    }
}

/// Joins two wires as a bridge does, and lets every tenth frame of the first that is long enough wait for three others.
const REORDERING: &str = r#"
import select, socket, sys
ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2)]
for end, name in zip(ends, sys.argv[1:]):
    end.bind((name, 0))
print("ready")
seen, held, since = 0, None, 0
while True:
    for end in select.select(ends, [], [], 0.01)[0]:
        frame, (_, _, kind, _, _) = end.recvfrom(1 << 16)
        if kind == socket.PACKET_OUTGOING:
            continue
        if end is ends[1]:
            ends[0].send(frame)
            continue
        seen += len(frame) > 1000
        if held is None and len(frame) > 1000 and seen % 10 == 0:
            held, since = frame, 0
            continue
        ends[1].send(frame)
        since += 1
        if held is not None and since == 3:
            ends[1].send(held)
            held = None
    else:
        if held is not None and not select.select(ends, [], [], 0.01)[0]:
            ends[1].send(held)
            held = None
"#;

#[test]
fn reordered_segments_are_no_losses_but_what_the_kernel_takes_for_such() {
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    let (first, second) = (Wire::new(), Wire::new());
    // The bridge can neither segment nor fill in checksums.
    for end in [&first.left, &first.right, &second.left, &second.right] {
        end.run("ethtool -K wire tx off tso off gso off gro off");
    }
    // Between them lies the bridge: the right end of the first, with the left end of the second brought there.
    second.left.run(&format!(
        "ip link set wire name onward netns {}",
        first.right.name()
    ));
    first.right.run("ip address flush dev wire");
    for device in ["wire", "onward"] {
        first
            .right
            .run(&format!("ip link set {device} promisc on arp off up"));
    }
    let [here, there, between] = ["client", "server", "bridge"].map(Pod::new);
    let _bridge = ready(between.python_inside(&first.right, REORDERING, &["wire", "onward"]));
    let _server = ready(there.python_inside(&second.right, SERVER, &["10.9.0.2", "80"]));
    let mut client = ready(here.python_inside(&first.left, CLIENT, &["10.9.0.2", "80"]));
    client.say(
        "end = socket.create_connection(peer); end.sendall(b'y' * 2000000); wait_for_acks(end)",
    );
    client.say("say(total_retrans(end)); say(reorderings(end))");
    let kernel: u64 = client.line().parse().unwrap();
    let reorderings: u32 = client.line().parse().unwrap();
    assert!(reorderings > 0);
    assert_eq!(connections.stats(&here).retransmits, kernel);

    // The same by the kernel's tables, for a connection that is still there.
    let open = first.left.sockets().connections;
    let [open] = &open[..] else {
        panic!("one connection: {open:#?}");
    };
    assert_eq!(open.cgroup, Some(here.id));
    assert_eq!(u64::from(open.info.retransmits), kernel);
    assert_eq!(open.info.reorderings, reorderings);
    // Nothing was lost, and nothing came twice or in another order.
    client.say("end.shutdown(socket.SHUT_WR); say(len(end.recv(4000000, socket.MSG_WAITALL))); end.close()");
    assert_eq!(client.line(), "2000000");
    assert_eq!(
        u64::from(connections.ended(&here, 1)[0].retransmits),
        kernel
    );
}

#[test]
fn what_a_full_listener_turns_away_is_counted_for_it() {
    const IDLE: &str = r#"
import socket, sys
listener = socket.create_server((sys.argv[1], 80), backlog=1)
print("ready")
input()
while True:
    listener.accept()
"#;
    let _turn = turn();
    let Some(connections) = Connections::start(&Config::default()) else {
        return;
    };
    let wire = Wire::new();
    let [here, there] = ["client", "server"].map(Pod::new);
    let _server = ready(there.python_inside(&wire.right, IDLE, &["10.9.0.2"]));
    let mut client = ready(here.python_inside(&wire.left, CLIENT, &["10.9.0.2", "80"]));
    // A backlog of 1 lets two in.
    client.say("ends = [socket.create_connection(peer) for _ in range(2)]; say('in')");
    assert_eq!(client.line(), "in");
    client.say("[ends.append(socket.socket()) for _ in range(5)]; [end.setblocking(False) for end in ends]");
    client.say("[end.connect_ex(peer) for end in ends[2:]]; say('tried')");
    assert_eq!(client.line(), "tried");

    let sockets = until("all five were turned away", || {
        let sockets = wire.right.sockets();
        (sockets.listen_overflows >= 5).then_some(sockets)
    });
    let [listener] = &sockets.listeners[..] else {
        panic!("one listener: {sockets:#?}");
    };
    assert_eq!(listener.cgroup, Some(there.id));
    assert_eq!(
        (listener.local.port(), listener.backlog, listener.queued),
        (80, 1, 2)
    );
    assert!(listener.drops >= 5);
    assert_eq!(sockets.listen_drops, sockets.listen_overflows);
    // Both are read one after the other, and the attempts go on.
    assert!(sockets.listen_overflows >= u64::from(listener.drops));
    // At the other end attempts that are not answered are retransmitted.
    until("a SYN is retransmitted", || {
        (connections.stats(&here).retransmits >= 5).then_some(())
    });
    assert_eq!(connections.stats(&here).connected, 2);
}

#[test]
fn connections_older_than_the_probes_are_told_by_the_kernels_tables_only() {
    let _turn = turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    client.write_all(b"early").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();

    let open = sockets::tcp(&NetworkNamespace::own().unwrap()).unwrap();
    let mut ends = open.connections.iter();
    let end = ends.find(|one| one.remote == address).unwrap();
    assert_eq!(end.info.bytes_acked, 1 + 5, "its SYN counts as one");
    drop((client, server));
    // One that the probes have seen begin ends after it.
    let port = address.port();
    drop(TcpStream::connect(address).unwrap());
    drop(listener.accept().unwrap());
    until("the later one has ended", || {
        connections.seen.extend(connections.stream.drain());
        let mut seen = connections.seen.iter();
        seen.any(|one| one.remote.port() == port).then_some(())
    });
    let of_port = connections.seen.iter();
    let of_port = of_port.filter(|one| one.remote.port() == port).count();
    assert_eq!(of_port, 1);
}

#[test]
fn a_ring_too_small_for_a_stopped_reader_counts_every_connection_it_loses() {
    // D-08
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config {
        connection_ring_bytes: 1,
        ..Config::default()
    }) else {
        return;
    };
    let port = free_port().to_string();
    let [here, there] = ["client", "server"].map(Pod::new);
    let _server = ready(there.python(SERVER, &["127.0.0.1", &port]));
    let mut client = ready(here.python(CLIENT, &["127.0.0.1", &port]));
    client.say("[socket.create_connection(peer).close() for _ in range(200)]; say('done')");
    assert_eq!(client.line(), "done");
    until("all have ended", || {
        let closed = [&here, &there].map(|pod| connections.stats(pod).closed);
        (closed == [200, 200]).then_some(())
    });
    let ledger = until("a moment without connections", || {
        let mut ledgers = [(); 2].map(|()| connections.watch.snapshot().ledger);
        (ledgers[0] == ledgers[1]).then(|| std::mem::take(&mut ledgers[0]))
    });
    let attempted = ledger[&Ledger::ConnectionsAttempted];
    let (seen, full) = (
        ledger[&Ledger::ConnectionsSeen],
        ledger[&Ledger::ConnectionRingFull],
    );
    assert!(attempted >= 400 && full > 0, "{ledger:?}");
    assert_eq!(attempted, seen + full);
    assert_eq!(connections.stream.drain().len() as u64, seen);
    assert_eq!(ledger[&Ledger::ConnectionUnassigned], 0);
    assert_eq!(ledger[&Ledger::ConnectionUnfollowed], 0);
}

#[test]
fn a_connection_opened_by_its_first_data_is_counted_like_others() {
    const FAST_OPEN: &str = r#"
import socket, sys
listener = socket.create_server((sys.argv[1], 80))
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
print("ready")
while True:
    end, _ = listener.accept()
    end.sendall(end.recv(100))
    end.close()
"#;
    let _turn = turn();
    let Some(mut connections) = Connections::start(&Config::default()) else {
        return;
    };
    let wire = Wire::new();
    for end in [&wire.left, &wire.right] {
        end.set("net.ipv4.tcp_fastopen", "3");
    }
    let [here, there] = ["client", "server"].map(Pod::new);
    let _server = ready(there.python_inside(&wire.right, FAST_OPEN, &["10.9.0.2"]));
    let mut client = ready(here.python_inside(&wire.left, CLIENT, &["10.9.0.2", "80"]));
    // The first gets the cookie, with which the others send data in their SYN.
    for _ in 0..3 {
        client.say("end = socket.socket(); end.sendto(b'hello', socket.MSG_FASTOPEN, peer); say(end.recv(100)); end.recv(1); end.close()");
        assert_eq!(client.line(), "b'hello'");
    }
    assert_eq!(wire.right.counter("TcpExtTCPFastOpenPassive"), 2);
    for pod in [&here, &there] {
        let ended = connections.ended(pod, 3);
        assert!(ended.iter().all(|one| one.end == End::Closed), "{ended:#?}");
        assert!(
            ended
                .iter()
                .all(|one| one.established() < Some(Duration::from_secs(20)))
        );
        let stats = connections.stats(pod);
        assert_eq!([stats.connected + stats.accepted, stats.closed], [3, 3]);
    }
}
