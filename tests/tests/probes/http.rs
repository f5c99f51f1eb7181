//! Exchanges of known bytes, each case seen from both ends.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use galileo_probes::{Config, Exchange, Role, flags};
use galileo_tests::{
    pod::Pod,
    talk::Talk,
    turn,
    watch::{Watch, of_role},
};

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Holds the exchanges of both roles against method, path and status of what was said.
fn assert_both(seen: &[Exchange], expected: &[(&str, &str, u16)]) {
    for role in [Role::Server, Role::Client] {
        let lines: Vec<_> = of_role(seen, role)
            .iter()
            .map(|exchange| {
                (
                    exchange.method.as_str(),
                    exchange.path.as_str(),
                    exchange.status,
                )
            })
            .collect();
        assert_eq!(lines, expected, "{role:?}");
    }
}

/// A last exchange, so that whatever came before has been handed out when this one is.
fn seen_until_last(watch: &mut Watch, talk: &mut Talk, before: usize) -> Vec<Exchange> {
    talk.ask(b"GET /last HTTP/1.1\r\n\r\n");
    talk.answer(EMPTY);
    let mut seen = watch.wait_for(talk.port, 2 * (before + 1));
    seen.retain(|exchange| &*exchange.path != "/last");
    assert_eq!(seen.len(), 2 * before, "{seen:#?}");
    seen
}

#[test]
fn the_final_answer_behind_interim_ones_is_the_exchanges() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    for (interim, count) in [
        ("100 Continue", 1),
        ("102 Processing", 1),
        ("102 Processing", 2),
    ] {
        let mut talk = Talk::new();
        let begin = Instant::now();
        talk.ask(
            b"POST /u HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        );
        for _ in 0..count {
            talk.answer(format!("HTTP/1.1 {interim}\r\n\r\n").as_bytes());
        }
        talk.ask(b"abc");
        // Not a wait for something: the answer is to come late, as in D-01.
        thread::sleep(Duration::from_millis(200));
        talk.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        let took = begin.elapsed();
        let seen = seen_until_last(&mut watch, &mut talk, 1);
        assert_both(&seen, &[("POST", "/u", 201)]);
        for exchange in &seen {
            let duration = Duration::from_nanos(exchange.end_ns - exchange.start_ns);
            assert!(duration >= Duration::from_millis(200) && duration <= took);
            assert_eq!(exchange.interim, count);
        }
    }
}

#[test]
fn bodies_that_look_like_heads_are_no_heads() {
    // D-02
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    talk.ask(b"POST /real HTTP/1.1\r\nContent-Length: 20\r\n\r\n");
    talk.ask(b"GET /evil HTTP/1.1\r\n");
    talk.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n");
    talk.answer(b"HTTP/1.1 4770 not a status");
    let seen = seen_until_last(&mut watch, &mut talk, 1);
    assert_both(&seen, &[("POST", "/real", 200)]);
}

#[test]
fn a_first_write_around_the_size_of_what_is_looked_at_is_read_whole() {
    // D-03: 512 bytes are looked at together, 1,024 with what was carried over.
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let sizes = [511, 512, 513, 1023, 1024, 1025, 2048];
    for size in sizes {
        let fixed = "GET /size HTTP/1.1\r\nX-Pad: \r\nx-galileo-request-id: 0000\r\n\r\n".len();
        let pad = "p".repeat(size - fixed);
        let head = format!(
            "GET /size HTTP/1.1\r\nX-Pad: {pad}\r\nx-galileo-request-id: {size:04}\r\n\r\n"
        );
        talk.ask(head.as_bytes());
        talk.answer(EMPTY);
    }
    let seen = seen_until_last(&mut watch, &mut talk, sizes.len());
    for role in [Role::Server, Role::Client] {
        let found: Vec<_> = of_role(&seen, role)
            .iter()
            .map(|exchange| {
                (
                    exchange.request_bytes,
                    exchange.request_id.unwrap().to_string(),
                )
            })
            .collect();
        let expected = sizes.map(|size| (size as u64, format!("{size:04}")));
        assert_eq!(found, expected);
    }
}

#[test]
fn peeking_at_an_answer_changes_nothing() {
    // D-04
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for turn in 0..100 {
        talk.ask(b"GET /peek HTTP/1.1\r\n\r\n");
        talk.server.write_all(answer).unwrap();
        let mut bytes = [0; 4096];
        for _ in 0..[1, 3][turn % 2] {
            assert!(talk.client.peek(&mut bytes).unwrap() > 0);
        }
        talk.client.read_exact(&mut bytes[..answer.len()]).unwrap();
        assert_eq!(&bytes[..answer.len()], answer);
    }
    let seen = seen_until_last(&mut watch, &mut talk, 100);
    assert_both(&seen, &[("GET", "/peek", 200); 100]);
    let received: u64 = seen.iter().map(|exchange| exchange.response_bytes).sum();
    assert_eq!(received, 200 * answer.len() as u64);
}

#[test]
fn a_head_answer_ends_with_its_head_whatever_its_length_says() {
    // D-05
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    talk.ask(b"HEAD /a HTTP/1.1\r\n\r\n");
    talk.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    talk.ask(b"GET /b HTTP/1.1\r\n\r\n");
    talk.answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    talk.ask(b"GET /c HTTP/1.1\r\n\r\n");
    talk.answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n");
    let seen = seen_until_last(&mut watch, &mut talk, 3);
    assert_both(
        &seen,
        &[("HEAD", "/a", 200), ("GET", "/b", 404), ("GET", "/c", 304)],
    );
}

#[test]
fn nothing_is_read_behind_an_upgrade_or_connect() {
    // D-06
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    for (request, answer, expected) in [
        (
            "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            ("GET", "/chat", 101),
        ),
        (
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            ("CONNECT", "h:443", 200),
        ),
    ] {
        let mut talk = Talk::new();
        talk.ask(request.as_bytes());
        talk.answer(answer.as_bytes());
        talk.ask(b"GET /fake HTTP/1.1\r\n\r\n");
        talk.answer(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
        let port = talk.port;
        talk.close();
        // An exchange of another connection, behind which nothing of the first can come.
        let mut marker = Talk::new();
        seen_until_last(&mut watch, &mut marker, 0);
        let seen = watch.seen(port);
        assert_both(&seen, &[expected]);
        assert!(seen.iter().all(|exchange| exchange.flags == flags::TUNNEL));
    }
}

#[test]
fn trailers_belong_to_the_message_before_them() {
    // D-07
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n";
    let body = "4;ext=1\r\nWiki\r\n0\r\nX-T: HTTP/1.1 500\r\n\r\n";
    talk.ask(b"GET /a HTTP/1.1\r\n\r\n");
    talk.answer(format!("{head}{body}").as_bytes());
    talk.ask(b"DELETE /b HTTP/1.1\r\n\r\n");
    talk.answer(b"HTTP/1.1 204 No Content\r\n\r\n");
    let seen = seen_until_last(&mut watch, &mut talk, 2);
    assert_both(&seen, &[("GET", "/a", 200), ("DELETE", "/b", 204)]);
    assert_eq!(seen[0].response_bytes, (head.len() + body.len()) as u64);
}

#[test]
fn a_message_written_byte_by_byte_is_one_exchange() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let request = b"HEAD /bytes HTTP/1.1\r\nx-galileo-request-id: b-1\r\n\r\n";
    for byte in request {
        talk.ask(&[*byte]);
    }
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in answer {
        talk.answer(&[*byte]);
    }
    let seen = seen_until_last(&mut watch, &mut talk, 1);
    assert_both(&seen, &[("HEAD", "/bytes", 200)]);
    for exchange in seen {
        assert_eq!(exchange.request_id.as_deref(), Some("b-1"));
        assert_eq!(exchange.request_bytes, request.len() as u64);
        assert_eq!(exchange.response_bytes, answer.len() as u64);
    }
}

#[test]
fn eight_pipelined_requests_in_one_segment_are_eight_exchanges() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    let requests: String = (0..8)
        .map(|index| format!("GET /p{index} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    let answers: String = (0..8)
        .map(|index| format!("HTTP/1.1 40{index} X\r\nContent-Length: 2\r\n\r\nab"))
        .collect();
    talk.ask(requests.as_bytes());
    talk.answer(answers.as_bytes());
    let seen = seen_until_last(&mut watch, &mut talk, 8);
    let paths: Vec<String> = (0..8).map(|index| format!("/p{index}")).collect();
    let expected: Vec<_> = (400..408)
        .zip(&paths)
        .map(|(status, path)| ("GET", path.as_str(), status))
        .collect();
    assert_both(&seen, &expected);
}

#[test]
fn addresses_and_ports_are_those_of_the_connection_on_ipv4_and_ipv6() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut talk = Talk::on(address);
        talk.ask(b"GET /where HTTP/1.1\r\n\r\n");
        talk.answer(EMPTY);
        let (server, client) = (
            talk.server.local_addr().unwrap(),
            talk.client.local_addr().unwrap(),
        );
        for exchange in watch.wait_for(talk.port, 2) {
            let expected = match exchange.role {
                Role::Server => (server, client),
                Role::Client => (client, server),
            };
            assert_eq!((exchange.local, exchange.remote), expected);
        }
    }
}

/// Asks and answers on a connection whose packets carry headers of IPv6 options: the numbers of the socket options tell which, and
/// how many times eight bytes each has. They hold an option for experiments, which who does not know it skips (RFC 4727, 3.6): of padding the
/// kernel takes seven bytes.
const WITH_OPTIONS: &str = r#"
import socket, sys
listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
client = socket.socket(socket.AF_INET6)
def set_options(end):
    for option in sys.argv[1:]:
        kind, eights = map(int, option.split("x"))
        length = 8 * eights - 4
        header = bytes([0, eights - 1, 0x1e, length]) + bytes(length)
        end.setsockopt(socket.IPPROTO_IPV6, kind, header)
set_options(client)
client.connect(listener.getsockname()[:2])
server, _ = listener.accept()
set_options(server)
for line in sys.stdin:
    client.sendall(b"GET " + line.strip().encode() + b" HTTP/1.1\r\n\r\n")
    server.recv(4096)
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client.recv(4096)
    print(listener.getsockname()[1])
"#;

#[test]
fn headers_of_ipv6_options_hide_nothing() {
    const HOP_BY_HOP: &str = "54x1";
    const DESTINATION: &str = "59x1";
    const LONG: &str = "59x31";
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    for options in [
        &[HOP_BY_HOP][..],
        &[DESTINATION],
        &[HOP_BY_HOP, DESTINATION],
        &[HOP_BY_HOP, LONG],
    ] {
        let pod = Pod::new("options");
        let mut ends = pod.python(WITH_OPTIONS, options);
        let mut port = 0;
        for path in ["/a", "/b", "/c"] {
            port = ends.ask(path).parse().unwrap();
        }
        let expected = [("GET", "/a", 200), ("GET", "/b", 200), ("GET", "/c", 200)];
        assert_both(&watch.wait_for(port, 6), &expected);
    }
}
