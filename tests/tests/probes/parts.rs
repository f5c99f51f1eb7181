//! Parts of an exchange, held against what a client wrote to nginx and when: request start and end, head and body.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use galileo_probes::{Config, Exchange, Role, flags};
use galileo_tests::{
    free_port,
    pod::{Pod, Process},
    turn,
    watch::{Watch, of_role},
};
use galileo_wire::clock::boot_ns;

/// nginx that answers `/ok` at once, and `/whole` when it has the whole request.
struct Server {
    port: u16,
    _process: Process,
    _pod: Pod,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let pod = Pod::new("parts");
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let server = format!(
            "location /ok {{ return 200 \"fine\\n\"; }}\n\
             location /whole {{ proxy_pass http://127.0.0.1:{port}/ok; }}"
        );
        let process = pod.nginx(folder.path(), port, &server);
        Self {
            port,
            _process: process,
            _pod: pod,
            _folder: folder,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Reads an answer with a length; returns the bytes of its head and body.
fn read_answer(stream: &mut TcpStream) -> (u64, u64) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).unwrap();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (text.len() as u64, body.len() as u64)
}

/// The exchange with this path, as both ends saw it.
fn both<'a>(seen: &'a [Exchange], path: &str) -> [&'a Exchange; 2] {
    [Role::Server, Role::Client].map(|role| {
        let mut found = of_role(seen, role);
        found.retain(|exchange| &*exchange.path == path);
        assert_eq!(found.len(), 1, "{path} {role:?} in {seen:#?}");
        found[0]
    })
}

#[test]
fn a_request_to_nginx_ends_with_the_last_part_of_its_body() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let server = Server::start();
    let plain = b"x".repeat(3_000);
    let chunks = [&b"3e8\r\n"[..], &plain[..1_000], b"\r\n0\r\n\r\n"].concat();
    for (field, body, cut) in [
        ("Content-Length: 3000", &plain, 1_000),
        // Within a chunk, and within the line behind the last one.
        ("Transfer-Encoding: chunked", &chunks, 100),
        ("Transfer-Encoding: chunked", &chunks, chunks.len() - 1),
    ] {
        let path = format!("/whole/{}/{cut}", field.len());
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
        let mut client = server.connect();
        let begin_ns = boot_ns();
        client
            .write_all(&[head.as_bytes(), &body[..cut]].concat())
            .unwrap();
        // Not a wait for something: the request is to take a while.
        thread::sleep(Duration::from_millis(50));
        let last_ns = boot_ns();
        client.write_all(&body[cut..]).unwrap();
        let answer = read_answer(&mut client);
        let end_ns = boot_ns();

        // nginx asks itself, too.
        let seen = watch.wait_for(server.port, 4);
        for exchange in both(&seen, &path) {
            // On a busy machine what was sent over loopback is received a while after the write.
            assert!((begin_ns..=last_ns).contains(&exchange.start_ns));
            let request_end_ns = exchange.request_end_ns.unwrap();
            assert!((last_ns..=end_ns).contains(&request_end_ns));
            assert!(request_end_ns <= exchange.first_byte_ns);
            assert_eq!(
                (exchange.request_head_bytes, exchange.request_body_bytes()),
                (head.len() as u64, Some(body.len() as u64))
            );
            assert_eq!(
                (exchange.response_head_bytes, exchange.response_body_bytes()),
                answer
            );
            assert_eq!(exchange.flags, 0);
        }
        watch.forget();
    }
}

#[test]
fn a_request_to_nginx_in_one_segment_ends_when_it_begins() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let server = Server::start();
    let mut client = server.connect();
    let get = "GET /ok/get HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = "POST /ok/post HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
    for request in [get, post] {
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut client).1, 5);
    }
    let seen = watch.wait_for(server.port, 4);
    for (path, request, body) in [("/ok/get", get, 0), ("/ok/post", post, 4)] {
        for exchange in both(&seen, path) {
            assert_eq!(exchange.request_end_ns, Some(exchange.start_ns));
            assert_eq!(exchange.request_head_bytes, request.len() as u64 - body);
            assert_eq!(exchange.request_body_bytes(), Some(body));
            assert_eq!(exchange.response_body_bytes(), 5);
        }
    }
}

#[test]
fn of_a_request_that_nginx_answers_before_it_has_ended_the_end_is_not_known() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let server = Server::start();
    let mut client = server.connect();
    let head = "POST /ok/early HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n";
    client.write_all(format!("{head}half").as_bytes()).unwrap();
    let answer = read_answer(&mut client);
    client
        .write_all(b"halfGET /ok/after HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    read_answer(&mut client);
    let seen = watch.wait_for(server.port, 4);
    for exchange in both(&seen, "/ok/early") {
        assert_eq!(exchange.flags, flags::EARLY_ANSWER);
        assert_eq!(
            (exchange.request_end_ns, exchange.request_body_bytes()),
            (None, None)
        );
        assert_eq!(exchange.request_head_bytes, head.len() as u64);
        assert_eq!(
            (exchange.response_head_bytes, exchange.response_body_bytes()),
            answer
        );
    }
    for exchange in both(&seen, "/ok/after") {
        assert_eq!(exchange.request_end_ns, Some(exchange.start_ns));
    }
}
