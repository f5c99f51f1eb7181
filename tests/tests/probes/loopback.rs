//! Connections over loopback, which are looked at at one end for both.

use std::collections::{HashMap, HashSet};

use galileo_probes::{Config, Exchange, Ledger, Role, Snapshot, cgroup::CgroupId, flags};
use galileo_tests::{
    http::Client,
    nginx::Nginx,
    pod::{Pod, own_cgroup},
    talk::Talk,
    turn,
    wait::until,
    watch::{Watch, of_role},
};

/// The server's and the client's exchange of each request, by path: there must be one of each.
fn by_path(seen: &[Exchange]) -> HashMap<&str, (&Exchange, &Exchange)> {
    let clients = of_role(seen, Role::Client);
    let clients: HashMap<&str, _> = clients.iter().map(|one| (&*one.path, *one)).collect();
    let servers = of_role(seen, Role::Server);
    let pairs: HashMap<&str, _> = servers
        .iter()
        .map(|one| (&*one.path, (*one, clients[&*one.path])))
        .collect();
    assert_eq!(2 * pairs.len(), seen.len(), "{seen:#?}");
    pairs
}

/// Whether what the client's end tells was seen at the server's.
fn is_told_by_the_server(server: &Exchange, client: &Exchange) -> bool {
    let same_times = (server.start_ns, server.end_ns) == (client.start_ns, client.end_ns);
    assert_eq!(same_times, client.flags & flags::PEER_TIMES != 0);
    assert_eq!(server.flags & flags::PEER_TIMES, 0);
    same_times
}

/// What is not certain about an exchange, but for where it was looked at.
fn marks(exchange: &Exchange) -> u32 {
    exchange.flags & !flags::PEER_TIMES
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn each_cgroup_has_every_exchange_of_its_end() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let gets = 50;
    let own = own_cgroup();
    let server = Nginx::start();
    let before = watch.snapshot();
    let mut client = Client::connect(server.port);
    for index in 0..gets {
        client.request("GET", &format!("/{index}"), "", b"");
    }
    let seen = watch.wait_for(server.port, 2 * gets);

    let pairs = by_path(&seen);
    assert_eq!(pairs.len(), gets);
    for (server, client) in pairs.values() {
        assert_eq!((client.local, client.remote), (server.remote, server.local));
        assert_eq!(client.cgroup, own);
        assert_eq!(
            (client.status, client.response_bytes, client.request_bytes),
            (server.status, server.response_bytes, server.request_bytes)
        );
    }
    assert!(
        seen.iter()
            .all(|one| one.cgroup == own || one.cgroup == server.pod.id)
    );
    let first = pairs["/0"];
    assert!(!is_told_by_the_server(first.0, first.1), "{first:#?}");
    let told = pairs
        .values()
        .filter(|(server, client)| is_told_by_the_server(server, client));
    assert_eq!(told.count(), gets - 1);

    // A record may be read some nanoseconds before it is counted as handed over.
    watch.until_counted("each end has counted all of them", own, |snapshot| {
        let since = snapshot.since(&before);
        let counted = |id: CgroupId| {
            let ledger = &since.cgroups[&id].ledger;
            [Ledger::ExchangesAttempted, Ledger::ExchangesSeen]
                .iter()
                .all(|kind| ledger.get(kind) == Some(&(gets as u64)))
        };
        let [of_server, of_client] = [
            since.cgroups[&server.pod.id].server.count,
            since.cgroups[&own].client.count,
        ];
        (counted(server.pod.id) && counted(own) && [of_server, of_client] == [gets as u64; 2])
            .then_some(())
    });
}

#[test]
fn over_ipv6_as_well() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::on("[::1]:0");
    for index in 0..4 {
        talk.ask(request(&format!("/{index}")).as_bytes());
        talk.answer(ANSWER);
    }
    let seen = watch.wait_for(talk.port, 8);
    let pairs = by_path(&seen);
    for (path, (server, client)) in &pairs {
        assert_eq!(
            is_told_by_the_server(server, client),
            *path != "/0",
            "{path}"
        );
    }
}

#[test]
fn each_end_tells_its_own_if_that_is_asked_for() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config {
        each_end: true,
        ..Config::default()
    }) else {
        return;
    };
    let mut talk = Talk::new();
    for index in 0..8 {
        talk.ask(request(&format!("/{index}")).as_bytes());
        talk.answer(ANSWER);
    }
    let seen = watch.wait_for(talk.port, 16);
    for (server, client) in by_path(&seen).values() {
        assert!(client.start_ns < server.start_ns && server.end_ns < client.end_ns);
    }
}

#[test]
fn a_client_that_always_has_a_request_under_way_looks_for_itself() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    talk.ask(request("/0").as_bytes());
    for index in 1..20 {
        talk.ask(request(&format!("/{index}")).as_bytes());
        talk.answer(ANSWER);
    }
    talk.answer(ANSWER);
    // Now nothing is.
    for index in 20..40 {
        talk.ask(request(&format!("/{index}")).as_bytes());
        talk.answer(ANSWER);
    }
    let seen = watch.wait_for(talk.port, 80);
    let pairs = by_path(&seen);
    assert_eq!(pairs.len(), 40);
    for (path, (server, client)) in &pairs {
        let index: u32 = path[1..].parse().unwrap();
        // Tried where the number of answers is a power of two.
        assert_eq!(is_told_by_the_server(server, client), index >= 32, "{path}");
    }
}

#[test]
fn what_the_ring_has_no_room_for_is_counted_for_each_end() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config {
        ring_bytes: 1,
        ..Config::default()
    }) else {
        return;
    };
    let gets = 10_000;
    let own = own_cgroup();
    let server = Nginx::start();
    let before = watch.snapshot();
    let mut client = Client::connect(server.port);
    for _ in 0..gets {
        client.request("GET", "/", "", b"");
    }
    for id in [server.pod.id, own] {
        watch.until_counted("the last answer is counted", id, |snapshot| {
            let since = snapshot.since(&before);
            let ledger = &since.cgroups[&id].ledger;
            let count = |kind| ledger.get(&kind).copied().unwrap_or(0);
            let [seen, full] = [Ledger::ExchangesSeen, Ledger::RingFull].map(count);
            let attempted = count(Ledger::ExchangesAttempted);
            (attempted == gets && full > 0 && seen + full == gets).then_some(())
        });
    }
}

#[test]
fn a_place_that_the_server_s_end_loses_is_lost_for_both() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let before = watch.snapshot();
    for index in 0..2 {
        talk.ask(request(&format!("/{index}")).as_bytes());
        talk.answer(ANSWER);
    }
    // More in one segment than is looked at.
    let many = 40;
    let crowd: String = (0..many)
        .map(|index| request(&format!("/many/{index}")))
        .collect();
    talk.ask(crowd.as_bytes());
    for _ in 0..many {
        talk.answer(ANSWER);
    }
    talk.ask(request("/then").as_bytes());
    talk.answer(ANSWER);

    let seen = until("the last exchange is told to both", || {
        let seen = watch.seen(talk.port);
        let last = seen.iter().filter(|one| &*one.path == "/then");
        (last.count() == 2).then_some(seen)
    });
    let pairs = by_path(&seen);
    for (path, (server, client)) in &pairs {
        assert_eq!(
            is_told_by_the_server(server, client),
            *path != "/0",
            "{path}"
        );
        assert_eq!(marks(server), marks(client), "{path}");
    }
    assert_ne!(marks(pairs["/then"].1) & flags::RESUMED, 0);
    // Both ends are this process'.
    let missed = 2 * (many + 3 - pairs.len()) as u64;
    assert!(missed > 0);
    let own = own_cgroup();
    watch.until_counted("each end has counted what was missed", own, |snapshot| {
        let since = snapshot.since(&before);
        let ledger = &since.cgroups[&own].ledger;
        let count = |kind| ledger.get(&kind).copied().unwrap_or(0);
        let counted = [Ledger::StepsExceeded, Ledger::JoinedLate].map(count);
        (counted == [2, missed]).then_some(())
    });
}

/// Asks three times over each of two connections of one socket.
const TWICE: &str = r#"
import ctypes, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
client = socket.socket()
for number in range(2):
    client.connect(("127.0.0.1", int(sys.argv[1])))
    for index in range(3):
        path = f"/{number}/{index}"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"fine\n"):
            answer += client.recv(4096)
    # AF_UNSPEC: the socket is disconnected.
    assert libc.connect(client.fileno(), bytes(16), 16) == 0
print("done", flush=True)
sys.stdin.readline()
"#;

#[test]
fn a_socket_that_is_connected_anew_is_met_anew() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let server = Nginx::start();
    let pod = Pod::new("client");
    let mut client = pod.python(TWICE, &[&server.port.to_string()]);
    assert_eq!(client.line(), "done");
    let seen = watch.wait_for(server.port, 12);
    let pairs = by_path(&seen);
    for (path, (server, client)) in &pairs {
        assert_eq!((marks(server), marks(client)), (0, 0), "{client:?}");
        assert_eq!(client.cgroup, pod.id);
        assert_eq!(
            is_told_by_the_server(server, client),
            !path.ends_with("/0"),
            "{path}"
        );
    }
    let ports: HashSet<u16> = pairs
        .values()
        .map(|(_, client)| client.local.port())
        .collect();
    assert_eq!(ports.len(), 2);
}

/// Is both ends of a connection: three exchanges, and a request without an answer. The server ends its side before that with `gone`, and
/// behind it with `half`.
const UNANSWERED: &str = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
def ask(index):
    client.sendall(f"GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
for index in range(3):
    ask(index)
    server.recv(4096)
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client.recv(4096)
if sys.argv[1] == "half":
    ask(3)
    server.recv(4096)
    server.shutdown(socket.SHUT_WR)
else:
    server.close()
    ask(3)
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
client.close()
server.close()
print("closed", flush=True)
sys.stdin.readline()
"#;

#[test]
fn what_is_not_answered_is_counted_for_each_end_that_saw_it() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    for how in ["half", "gone"] {
        let pod = Pod::new("unanswered");
        let mut ends = pod.python(UNANSWERED, &[how]);
        let port = ends.line().parse().unwrap();
        let seen = watch.wait_for(port, 6);
        let (server, client) = by_path(&seen)["/2"];
        assert!(is_told_by_the_server(server, client));
        let counted = |snapshot: &Snapshot| {
            let ledger = &snapshot.cgroups[&pod.id].ledger;
            ledger.get(&Ledger::ClosedWithoutAnswer).copied()
        };
        // The server's socket may be gone altogether: then nothing looks at the request there.
        let expected = if how == "half" { 2..=2 } else { 1..=2 };
        watch.until_counted("it is counted", pod.id, |snapshot| {
            expected.contains(&counted(snapshot)?).then_some(())
        });
        assert_eq!(ends.ask("close"), "closed");
        assert!(
            expected.contains(&counted(&watch.snapshot()).unwrap()),
            "{how}"
        );
    }
}
