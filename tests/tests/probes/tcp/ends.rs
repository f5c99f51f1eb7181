//! How connections begin and end, and attempts at them.

use std::{net::SocketAddr, time::Duration};

use galileo_probes::{Config, End, Origin};
use galileo_tests::{free_port, pod::Pod, turn, wire::Wire};

use super::{CLIENT, Connections, SERVER, ready};

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
                assert!(ended.segments.data_received > 0 && ended.segments.data_sent > 0);
                assert!(ended.segments.timeouts <= ended.segments.retransmits);
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
        let last = ended[2].segments;
        assert!(last.retransmits > 0 && last.retransmits == last.timeouts);
        assert_eq!(
            ended
                .iter()
                .map(|one| one.segments.retransmits)
                .sum::<u32>(),
            syns
        );
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
