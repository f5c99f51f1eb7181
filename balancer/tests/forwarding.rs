//! What a replica and a client see of one another through the balancer.

mod harness;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use galileo_balancer::Host;
use harness::upstream::{close, ok};
use harness::{Front, Upstream, wait_until};

#[test]
fn the_service_is_taken_off_the_path_and_the_query_stays() {
    let (web, api) = (Upstream::named("web"), Upstream::named("api"));
    let front = Front::start(&[("web", &[(&web, 1)]), ("api", &[(&api, 1)])]);
    assert_eq!(front.get("/function/web/a/b%20c//d?x=1&y=/z").text(), "web");
    assert_eq!(front.get("/function/api").text(), "api");
    assert_eq!(front.get("/function/api?q").text(), "api");
    assert_eq!(web.only().target(), "/a/b%20c//d?x=1&y=/z");
    let targets: Vec<_> = api
        .seen()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(targets, ["/", "/?q"]);
}

#[test]
fn a_path_that_begins_with_two_slashes_stays_a_path() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    assert_eq!(front.get("/function/web//evil.example/x").status, 200);
    assert_eq!(web.only().target(), "//evil.example/x");
}

#[test]
fn an_absolute_target_is_routed_like_its_path() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send("GET http://galileo:80/function/web/x?y HTTP/1.1\r\nHost: galileo:80\r\n\r\n");
    assert_eq!(client.response().expect("an answer").status, 200);
    assert_eq!(
        web.only().lines()[..2],
        ["GET /x?y HTTP/1.1", "Host: galileo:80"]
    );
}

// The probes look for the id at the beginning of a request.
#[test]
fn the_request_id_is_right_behind_host_on_the_wire() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    for before in [
        "",
        "Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nTE: trailers\r\nAccept: */*\r\n",
    ] {
        let mut client = front.client();
        client.send(format!(
            "GET /function/web/x HTTP/1.1\r\n{before}Host: galileo\r\nx-galileo-request-id: 0123456789:1\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Last: 1\r\n\r\n"
        ));
        assert_eq!(client.response().expect("an answer").status, 200);
    }
    for request in web.seen() {
        assert_eq!(
            request.lines()[..4],
            [
                "GET /x HTTP/1.1",
                "Host: galileo",
                "x-galileo-request-id: 0123456789:1",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ],
            "{}",
            request.head
        );
        assert_eq!(request.header("x-last"), Some("1"));
    }
}

// D-29.
#[test]
fn fields_of_the_clients_connection_do_not_reach_the_replica() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    for _ in 0..2 {
        let mut client = front.client();
        client.send(
            "GET /function/web/ HTTP/1.1\r\nHost: x\r\nConnection: close, X-Foo\r\nX-Foo: 1\r\n\
             Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n\r\n",
        );
        assert_eq!(
            client.response().expect("an answer").header("connection"),
            Some("close")
        );
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(web.connections(), 1, "both requests share one connection");
    for request in web.seen() {
        for name in [
            "connection",
            "x-foo",
            "keep-alive",
            "te",
            "proxy-connection",
        ] {
            assert_eq!(request.header(name), None, "{}", request.head);
        }
    }
}

#[test]
fn request_and_answer_tell_who_forwarded_when_to_whom() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send("GET /function/web/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
    let response = client.response().expect("an answer");
    let request = web.only();
    let host = web.addr().to_string();
    assert_eq!(
        request.header("x-forwarded-for"),
        Some("203.0.113.9, 127.0.0.1")
    );
    assert_eq!(request.header("x-galileo-via"), Some("n1"));
    assert_eq!(request.header("x-final-host"), Some(&*host));
    assert_eq!(response.header("x-galileo-via"), Some("n1"));
    assert_eq!(response.header("x-final-host"), Some(&*host));
    let forwarded = request.header("x-forwarded-host-n1").expect("a time");
    assert_eq!(response.header("x-forwarded-host-n1"), Some(forwarded));
    assert_eq!(
        forwarded
            .split_once('.')
            .map(|(_, decimals)| decimals.len()),
        Some(7)
    );
}

#[test]
fn fields_of_the_replicas_connection_do_not_reach_the_client() {
    let web = Upstream::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nConnection: close, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\nX-Bar: 2\r\n";
        close(stream.write_all(format!("{head}Content-Length: 2\r\n\r\nok").as_bytes()))
    });
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    for _ in 0..2 {
        let response = client.get("/function/web/");
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(
            (response.header("x-foo"), response.header("keep-alive")),
            (None, None)
        );
        assert_eq!(response.header("x-bar"), Some("2"));
    }
}

#[test]
fn connections_are_kept_on_both_sides() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    for n in 0..10 {
        assert_eq!(client.get(&format!("/function/web/{n}")).text(), "web");
    }
    assert_eq!(web.connections(), 1);
    assert_eq!(web.seen().last().map(|request| request.turn), Some(10));
}

#[test]
fn picks_follow_the_weights_exactly() {
    let (a, b, c) = (
        Upstream::named("a"),
        Upstream::named("b"),
        Upstream::named("c"),
    );
    let front = Front::start(&[("web", &[(&a, 5), (&b, 1), (&c, 1)])]);
    let mut client = front.client();
    let picked: String = (0..14)
        .map(|_| client.get("/function/web/").text())
        .collect();
    assert_eq!(picked, "aabacaaaabacaa");
}

#[test]
fn picks_follow_the_weights_exactly_under_concurrency() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let front = Front::start(&[("web", &[(&a, 21), (&b, 11)])]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = front.client();
                for _ in 0..40 {
                    assert_eq!(client.get("/function/web/").status, 200);
                }
            });
        }
    });
    assert_eq!((a.seen().len(), b.seen().len()), (210, 110));
}

// D-25 and D-27 through the front door.
#[test]
fn weights_change_while_requests_run() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let front = Front::start(&[("web", &[(&a, 0), (&b, 0)])]);
    assert_eq!(front.get("/function/web/").status, 503);
    front.set("web", &[(&a, 3), (&b, 0)]);
    wait_until("the weights are in force", || {
        front.get("/function/web/").text() == "a"
    });
    front.set("web", &[(&a, 0), (&b, 1)]);
    wait_until("the weights are in force", || {
        front.get("/function/web/").text() == "b"
    });
    assert!((0..20).all(|_| front.get("/function/web/").text() == "b"));
    front.weights.remove("web");
    wait_until("the service is gone", || {
        front.get("/function/web/").status == 404
    });
}

#[test]
fn head_and_body_of_a_small_answer_come_in_one_segment() {
    let web = Upstream::named("web");
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut stream = std::net::TcpStream::connect(front.balancer.addr()).expect("a connection");
    for _ in 0..20 {
        let mut bytes = [0; 4096];
        stream
            .write_all(b"GET /function/web/ HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("it is written");
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(
            bytes[..count].ends_with(b"\r\n\r\nweb"),
            "{}",
            String::from_utf8_lossy(&bytes[..count])
        );
    }
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let web = Upstream::start(|request, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .is_ok()
            && request.body.chunks(7).all(|chunk| {
                let part = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                stream
                    .write_all(&part)
                    .and_then(|()| stream.flush())
                    .is_ok()
            })
            && stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    for _ in 0..2 {
        client
            .send("POST /function/web/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("d\r\nHello, world \r\n");
        client.send("10\r\nof many segments\r\n0\r\n\r\n");
        let response = client.response().expect("an answer");
        assert_eq!(response.text(), "Hello, world of many segments");
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(web.seen()[0].body, b"Hello, world of many segments");
}

#[test]
fn parts_of_an_answer_pass_as_they_come() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let web = Upstream::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head.as_bytes()).is_ok()
            && wait
                .lock()
                .expect("no panic")
                .recv_timeout(harness::PATIENCE)
                .is_ok()
            && stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").is_ok()
    });
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut stream = std::net::TcpStream::connect(front.balancer.addr()).expect("a connection");
    stream
        .set_read_timeout(Some(harness::PATIENCE))
        .expect("a time-out");
    stream
        .write_all(b"GET /function/web/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is written");
    let mut until = |end: &[u8]| {
        let mut seen = Vec::new();
        while !seen.ends_with(end) {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).expect("the next part in time");
            seen.extend_from_slice(&bytes[..count]);
        }
    };
    until(b"first\r\n");
    go.send(()).expect("the replica waits");
    until(b"last\r\n0\r\n\r\n");
}

#[test]
fn large_bodies_pass_both_ways_unchanged() {
    let web = Upstream::start(|request, stream| stream.write_all(&ok(&request.body)).is_ok());
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let body: Vec<u8> = (0..16u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut client = front.client();
    client.send(format!(
        "POST /function/web/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    let response = client.response().expect("an answer");
    assert_eq!(response.status, 200);
    assert!(
        response.body == body,
        "{} bytes came back",
        response.body.len()
    );
    assert!(web.only().body == body);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let web = Upstream::named("web");
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send("POST /function/web/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().expect("an announcement").status, 100);
    client.send("body");
    assert_eq!(client.response().expect("an answer").text(), "web");
    assert_eq!(front.hop().status, 200);
}

#[test]
fn a_head_request_has_no_body_and_keeps_the_connection() {
    let web = Upstream::start(|request, stream| {
        let body = if request.method() == "HEAD" {
            ""
        } else {
            "web"
        };
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{body}").as_bytes())
            .is_ok()
    });
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    for path in ["/function/web/", "/function/none/"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            client
                .head()
                .expect("an answer")
                .header("content-length")
                .is_some()
        );
    }
    assert_eq!(client.get("/function/web/").text(), "web");
}

// A replica that frames by closing, and clients of both versions.
#[test]
fn clients_of_both_versions_get_what_they_understand() {
    let web = Upstream::start(|_, stream| {
        let answer = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
        close(stream.write_all(answer.as_bytes()))
    });
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut modern = front.client();
    let response = modern.get("/function/web/");
    assert!(
        response.head.starts_with("HTTP/1.1 200 "),
        "{}",
        response.head
    );
    assert_eq!(response.text(), "until the end");

    let mut old = front.client();
    old.send("GET /function/web/ HTTP/1.0\r\n\r\n");
    let response = old.head().expect("an answer");
    assert_eq!(
        response.header("transfer-encoding"),
        None,
        "{}",
        response.head
    );
    assert_eq!(String::from_utf8_lossy(&old.rest()), "until the end");
    assert_eq!(web.seen()[1].header("host"), Some(&*web.addr().to_string()));
}

#[test]
fn pythons_server_is_a_replica_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hello.txt"), "hello from python").expect("a file");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let mut python = Command::new("python3")
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &port.to_string(),
        ])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 is installed");
    let front = Front::start(&[]);
    let host: Host = format!("127.0.0.1:{port}").parse().expect("a host");
    front.weights.set("files", [(host, 1)]).expect("a service");
    wait_until("python listens", || {
        front.get("/function/files/hello.txt").text() == "hello from python"
    });
    assert_eq!(front.get("/function/files/none.txt").status, 404);
    python.kill().and_then(|()| python.wait()).expect("it ends");
}
