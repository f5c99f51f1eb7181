//! First data that reaches the listener's socket, before there is one of the connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use galileo_probes::{Config, Ledger, NetworkNamespace, Role, Snapshot, sockets};
use galileo_tests::{
    free_port,
    http::Client,
    nginx::Nginx,
    pod::Pod,
    turn,
    wait::until,
    watch::{Watch, of_role},
};

const CONNECTIONS: usize = 50;

/// All exchanges are there in both roles, and nothing is left unclaimed.
fn check(watch: &mut Watch, port: u16, pod: &Pod, least: u64, before: &Snapshot) {
    check_count(watch, port, pod, CONNECTIONS, least, before);
}

/// As [`check`], of so many connections.
fn check_count(
    watch: &mut Watch,
    port: u16,
    pod: &Pod,
    count: usize,
    least: u64,
    before: &Snapshot,
) {
    let seen = watch.wait_for(port, 2 * count);
    for role in [Role::Server, Role::Client] {
        let mut found: Vec<_> = of_role(&seen, role)
            .iter()
            .map(|exchange| (exchange.path.to_string(), exchange.status, exchange.flags))
            .collect();
        found.sort_by_key(|(path, ..)| (path.len(), path.clone()));
        let expected: Vec<_> = (0..count)
            .map(|index| (format!("/{index}"), 200, 0))
            .collect();
        assert_eq!(found, expected, "{role:?}");
    }
    for exchange in of_role(&seen, Role::Server) {
        assert_eq!(exchange.cgroup, pod.id);
    }
    let since = until("all first data is claimed", || {
        let since = watch.snapshot().since(before);
        (since.ledger[&Ledger::ListenerData] == 0).then_some(since)
    });
    let claimed = since.ledger[&Ledger::ListenerClaimed];
    assert!(claimed >= least, "{claimed}");
}

const DEFERRING: &str = r#"
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(int(sys.argv[2]))
print("ready")
input()
while True:
    peer, _ = listener.accept()
    head = b""
    while (data := peer.recv(65536)):
        head += data
        if head.endswith(b"\r\n\r\n"):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            head = b""
    peer.close()
"#;

#[test]
fn a_listener_that_defers_accepting_hides_no_request() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("deferring");
    let port = free_port();
    let mut server = pod.python(DEFERRING, &[&port.to_string(), "64"]);
    assert_eq!(server.line(), "ready");
    server.say("accept");
    let before = watch.snapshot();
    for index in 0..CONNECTIONS {
        let reply = Client::connect(port).request("GET", &format!("/{index}"), "d", b"");
        assert_eq!(reply.status, 200);
    }
    check(&mut watch, port, &pod, CONNECTIONS as u64, &before);
}

fn read_answer(mut client: TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut some = [0; 100];
        let read = client.read(&mut some).unwrap();
        assert_ne!(read, 0, "the server closed the connection");
        answer.extend_from_slice(&some[..read]);
    }
}

#[test]
fn a_request_turned_away_by_a_full_listener_is_one_exchange_when_it_comes_again() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("full");
    let port = free_port();
    // A backlog of 0 lets one in.
    let mut server = pod.python(DEFERRING, &[&port.to_string(), "0"]);
    assert_eq!(server.line(), "ready");
    let before = watch.snapshot();
    let connect = || {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_nodelay(true).unwrap();
        client
    };
    let mut clients = [connect(), connect()];
    clients[0].write_all(b"GET /0 HTTP/1.1\r\n\r\n").unwrap();
    clients[1].write_all(b"GET /1 HT").unwrap();
    clients[1].write_all(b"TP/1.1\r\n\r\n").unwrap();
    // Both pieces, and then what is sent again.
    until("the second connection is turned away", || {
        let sockets = sockets::tcp(&NetworkNamespace::own().unwrap()).unwrap();
        let mut listeners = sockets.listeners.iter();
        let ours = listeners.find(|listener| listener.local.port() == port)?;
        (ours.drops >= 4).then_some(())
    });
    server.say("accept");
    // Which of them is let in first is not known, and the server waits for its end.
    let readers = clients.map(|client| thread::spawn(move || read_answer(client)));
    for reader in readers {
        reader.join().unwrap();
    }
    check_count(&mut watch, port, &pod, 2, 1, &before);
}

/// Server and client in a network namespace of their own, as the server's side of fast open is off by default.
const FAST_OPEN: &str = r#"
import fcntl, socket, struct, sys, threading
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
try:
    open("/proc/sys/net/ipv4/tcp_fastopen", "w").write("3")
except OSError as error:
    print("no:", error)
    sys.exit()
print("ready")
sys.stdin.readline()
TCP_FASTOPEN_NO_COOKIE = 34
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
address = ("127.0.0.1", int(sys.argv[1]))
listener.bind(address)
listener.listen(64)
def serve():
    while True:
        peer, _ = listener.accept()
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        peer.recv(1)
        peer.close()
threading.Thread(target=serve, daemon=True).start()
for index in range(int(sys.argv[2])):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    client.sendto(b"GET /%d HTTP/1.1\r\n\r\n" % index, socket.MSG_FASTOPEN, address)
    answer = b""
    while not answer.endswith(b"hello"):
        answer += client.recv(65536)
    client.close()
print("done")
sys.stdin.readline()
"#;

#[test]
fn fast_open_hides_no_request() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("fast-open");
    let port = free_port();
    let mut both = pod.start(&[
        "unshare",
        "--net",
        "python3",
        "-u",
        "-c",
        FAST_OPEN,
        &port.to_string(),
        &CONNECTIONS.to_string(),
    ]);
    let ready = both.line();
    if ready != "ready" {
        galileo_skips::skip(format!("fast open cannot be turned on ({ready})"));
        return;
    }
    let before = watch.snapshot();
    assert_eq!(both.ask("go"), "done");
    check(&mut watch, port, &pod, CONNECTIONS as u64, &before);
}

#[test]
fn a_plain_listener_is_not_touched() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let server = Nginx::start();
    let before = watch.snapshot();
    for index in 0..CONNECTIONS {
        Client::connect(server.port).request("GET", &format!("/{index}"), "p", b"");
    }
    check(&mut watch, server.port, &server.pod, 0, &before);
}
