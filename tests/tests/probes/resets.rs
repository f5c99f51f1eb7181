//! Connections that one end resets while the other one sends.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use galileo_probes::{Config, Ledger, Role, flags};
use galileo_tests::{
    pod::own_cgroup,
    turn,
    wait::until,
    watch::{Watch, of_role},
};
use rustix::net::sockopt;

/// Up to thirteen of them had two exchanges before a reset was looked at alone.
const CONNECTIONS: usize = 9_000;
/// Writes of the answer's body.
const PARTS: usize = 30;
const PART: &[u8] = &[b'x'; 50];

/// Answers one request with a body in many segments, as far as the client lets it.
fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket");
    let mut request = [0; 1024];
    if stream.read(&mut request).unwrap_or(0) == 0 {
        return;
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        PARTS * PART.len()
    );
    let parts = std::iter::once(head.as_bytes()).chain(std::iter::repeat_n(PART, PARTS));
    for part in parts {
        if stream.write_all(part).is_err() {
            return;
        }
        // Where both have one CPU, the client would come when all is written.
        thread::yield_now();
    }
}

/// Asks, reads so many bytes of the answer, and resets.
fn ask_and_reset(port: u16, index: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a TCP socket");
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a TCP socket");
    let request = format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is open");
    // From the first bytes of the answer to nearly the last, so that some resets meet the answer's end.
    let mut left = 1 + index % (PARTS * PART.len());
    let mut bytes = [0; 4096];
    while left > 0 {
        let read = stream.read(&mut bytes[..left.min(4096)]).expect("it comes");
        assert!(read > 0, "the server sends all of it");
        left -= read;
    }
}

#[test]
fn a_reset_beside_the_answer_leaves_one_exchange() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let before = watch.snapshot();
    watch.meanwhile(port, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                for stream in listener.incoming().take(CONNECTIONS) {
                    answer(stream.expect("a connection"));
                }
            });
            for index in 0..CONNECTIONS {
                ask_and_reset(port, index);
            }
        });
    });

    // A reset that meets a hook whose CPU was taken off for long is not looked at: then its exchange stays open, and that is counted.
    let seen = until(
        "each request has an exchange, or a reset that was missed",
        || {
            let seen = watch.seen(port);
            let used = watch.snapshot().since(&before);
            let ledger = &used.cgroups.get(&own_cgroup())?.ledger;
            let missed = ledger.get(&Ledger::SocketBusy).copied().unwrap_or(0);
            (seen.len() as u64 + 2 * missed >= 2 * CONNECTIONS as u64).then_some(seen)
        },
    );
    for role in [Role::Server, Role::Client] {
        let seen = of_role(&seen, role);
        let paths: HashSet<&str> = seen.iter().map(|one| &*one.path).collect();
        assert_eq!(seen.len(), paths.len(), "none has two");
        assert!(seen.len() > CONNECTIONS - CONNECTIONS / 100);
        let cut = seen.iter().filter(|one| one.flags & flags::CUT_OFF != 0);
        assert!(cut.count() > CONNECTIONS / 10, "resets cut answers off");
    }
    let used = watch.snapshot().since(&before);
    let ledger = &used.cgroups[&own_cgroup()].ledger;
    assert_eq!(ledger.get(&Ledger::ClosedWithoutAnswer).unwrap_or(&0), &0);
}
