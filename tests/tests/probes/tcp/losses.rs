//! What a wire loses and reorders, against the kernel's own counts.

use galileo_probes::Config;
use galileo_tests::{pod::Pod, turn, wire::Wire};

use super::{CLIENT, Connections, SERVER, ready};

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
        assert_eq!(u64::from(ended.segments.retransmits), stats.retransmits);
        assert_eq!(u64::from(ended.segments.timeouts), stats.timeouts);
        assert!(stats.timeouts <= stats.retransmits);
        assert_eq!(u64::from(ended.segments.data_sent), stats.data_segments);
        // Nothing that the server sent was lost; on a busy machine the kernel may still take an answer for late.
        let sent_again = wire.right.counter("TcpRetransSegs");
        assert_eq!(
            connections.ended(&there, 1)[0].segments.retransmits,
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
        u64::from(connections.ended(&here, 1)[0].segments.retransmits),
        kernel
    );
}
