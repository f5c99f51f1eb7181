//! Connections that are turned away, older than the probes, or more than are read.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use galileo_probes::{Config, Ledger, NetworkNamespace, sockets};
use galileo_tests::{free_port, pod::Pod, turn, wait::until, wire::Wire};

use super::{CLIENT, Connections, SERVER, ready};

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
    let alone = sockets::listeners(&wire.right.open()).unwrap();
    assert_eq!((alone.len(), alone[0].cookie), (1, listener.cookie));
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
