//! Real servers: nginx and Python's, one thousand requests of known paths each.

use std::collections::BTreeMap;

use galileo_probes::{Config, Exchange, Role, cgroup::CgroupId};
use galileo_tests::{
    free_port,
    http::{Client, Reply},
    pod::{Pod, listens, own_cgroup},
    turn,
    watch::{Watch, of_role},
};

const REQUESTS: usize = 1_000;

/// What was asked for and came back, by request id.
type Asked = BTreeMap<String, (&'static str, String, Reply)>;

/// Sends all requests, over one connection or over one each.
fn load(port: u16, keep_alive: bool) -> Asked {
    let mut asked = Asked::new();
    let mut client = Client::connect(port);
    for index in 0..REQUESTS {
        let (method, status) = [
            ("GET", "ok"),
            ("HEAD", "ok"),
            ("POST", "ok"),
            ("GET", "gone"),
        ][index % 4];
        let path = format!("/{status}/{index}");
        let id = format!("{port}-{index}");
        let body = if method == "POST" {
            vec![b'x'; 1 + index * 7]
        } else {
            Vec::new()
        };
        if !keep_alive && index > 0 {
            client = Client::connect(port);
        }
        let reply = client.request(method, &path, &id, &body);
        assert_eq!(reply.status, if status == "ok" { 200 } else { 404 });
        if reply.closes {
            client = Client::connect(port);
        }
        asked.insert(id, (method, path, reply));
    }
    asked
}

/// Each request exactly once in both roles, with what is known of it; and the two roles of one request fit together.
fn compare(asked: &Asked, seen: &[Exchange], server: CgroupId) {
    let client = own_cgroup();
    let by_id = |role| -> BTreeMap<&str, &Exchange> {
        let found = of_role(seen, role);
        let by_id: BTreeMap<_, _> = found
            .iter()
            .map(|exchange| (exchange.request_id.as_deref().unwrap(), *exchange))
            .collect();
        assert_eq!(
            (found.len(), by_id.len()),
            (asked.len(), asked.len()),
            "{role:?}"
        );
        by_id
    };
    let (servers, clients) = (by_id(Role::Server), by_id(Role::Client));
    for (id, (method, path, reply)) in asked {
        let pair = [servers[id.as_str()], clients[id.as_str()]];
        for (exchange, owner) in pair.into_iter().zip([server, client]) {
            assert_eq!(
                (&*exchange.method, &*exchange.path, exchange.status),
                (*method, path.as_str(), reply.status)
            );
            let (sent, received) = (reply.sent, reply.received);
            assert_eq!(
                (exchange.request_bytes, exchange.response_bytes),
                (sent.0 + sent.1, received.0 + received.1),
                "{method} {path}"
            );
            assert_eq!(
                (exchange.request_head_bytes, exchange.request_body_bytes()),
                (sent.0, Some(sent.1)),
                "{method} {path}"
            );
            assert_eq!(
                (exchange.response_head_bytes, exchange.response_body_bytes()),
                received,
                "{method} {path}"
            );
            assert_eq!(exchange.cgroup, owner, "{:?}", exchange.role);
            let request_end_ns = exchange.request_end_ns.unwrap();
            assert!(exchange.start_ns <= request_end_ns);
            assert!(request_end_ns <= exchange.first_byte_ns);
            assert!(exchange.first_byte_ns <= exchange.end_ns);
            assert_eq!(exchange.flags, 0, "{exchange:?}");
        }
        let [at_server, at_client] = pair;
        assert!(at_client.start_ns <= at_server.start_ns);
        assert!(at_server.end_ns <= at_client.end_ns);
    }
}

fn check(
    keep_alive: bool,
    start: impl FnOnce(&Pod, u16, &std::path::Path) -> galileo_tests::pod::Process,
) {
    let Some(mut watch) = Watch::start(&Config {
        each_end: true,
        ..Config::default()
    }) else {
        return;
    };
    let pod = Pod::new("server");
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let before = watch.snapshot();
    let _server = start(&pod, port, folder.path());
    listens(port);
    let asked = load(port, keep_alive);
    let seen = watch.wait_for(port, 2 * REQUESTS);
    compare(&asked, &seen, pod.id);
    let counted = watch.snapshot().since(&before).cgroups[&pod.id].clone();
    assert_eq!(
        (counted.server.count, counted.client.count),
        (REQUESTS as u64, 0)
    );
    assert_eq!(counted.server.duration.count(), REQUESTS as u64);
    let sum: u64 = of_role(&seen, Role::Server)
        .iter()
        .map(|exchange| exchange.end_ns - exchange.start_ns)
        .sum();
    assert_eq!(counted.server.duration.sum_ns, sum);
}

fn nginx(pod: &Pod, port: u16, folder: &std::path::Path) -> galileo_tests::pod::Process {
    pod.nginx(
        folder,
        port,
        "client_max_body_size 1m; location /ok/ { return 200 \"fine\\n\"; } location / { return 404; }",
    )
}

const PYTHON: &str = r#"
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes, and two segments. The second would wait for the client's acknowledgement, 40 ms.
    disable_nagle_algorithm = True
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = self.path.encode() * 3
        self.send_response(200 if self.path.startswith("/ok/") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_HEAD = do_POST = answer
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

fn python(pod: &Pod, port: u16, _: &std::path::Path) -> galileo_tests::pod::Process {
    pod.python(PYTHON, &[&port.to_string()])
}

#[test]
fn every_request_to_nginx_over_one_connection_is_seen_once_in_both_roles() {
    let _turn = turn();
    check(true, nginx);
}

#[test]
fn every_request_to_nginx_over_a_connection_of_its_own_is_seen_once_in_both_roles() {
    let _turn = turn();
    check(false, nginx);
}

#[test]
fn every_request_to_python_over_one_connection_is_seen_once_in_both_roles() {
    let _turn = turn();
    check(true, python);
}

#[test]
fn every_request_to_python_over_a_connection_of_its_own_is_seen_once_in_both_roles() {
    let _turn = turn();
    check(false, python);
}
