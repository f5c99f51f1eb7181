//! How requests are written, answers read and connections used.

use std::{
    io::BufRead,
    process::{Command, Stdio},
    time::Duration,
};

use galileo_load::{Extent, Report, Request, Target, Workload};
use galileo_wire::{FailureKind, Outcome, Trace};

use crate::{
    MS, constant, ms,
    open_loop::header,
    run,
    server::{Reply, Server, Then},
};

/// Sends one request to a server.
async fn ask_once(server: &Server, request: Request) -> Trace {
    let (_, traces) = run(Workload {
        request,
        ..constant(server.target(), "100/s", Extent::Requests(1))
    })
    .await;
    traces.into_iter().next().unwrap()
}

/// What came of requests that were answered one after the other.
struct InTurn {
    server: Server,
    report: Report,
    traces: Vec<Trace>,
}

/// Sends five requests a second to a server that is made for them, each when the one before it has long been answered. Where a
/// machine is too busy for that it is tried again, as a request then needs another connection.
async fn in_turn(server: impl Fn() -> Server, request: Request, requests: u64) -> InTurn {
    // Until the server, too, has done with an answer.
    let settled_ns = 100 * MS;
    for _ in 0..10 {
        let server = server();
        let workload = Workload {
            request: request.clone(),
            ..constant(server.target(), "5/s", Extent::Requests(requests))
        };
        let (report, traces) = run(workload).await;
        let apart = traces.windows(2).all(|pair| {
            let done_ns = pair[0].done_ns;
            done_ns.is_some_and(|done_ns| done_ns + settled_ns <= pair[1].created_ns)
        });
        if apart {
            return InTurn {
                server,
                report,
                traces,
            };
        }
    }
    panic!("answers take more than 100 ms");
}

fn post(body: Vec<u8>) -> Request {
    Request {
        method: "POST".to_owned(),
        body,
        ..Request::default()
    }
}

#[tokio::test]
async fn a_request_names_itself_right_after_its_host() {
    let server = Server::start(|_| Reply::ok());
    let request = Request {
        path: "/a?b=c".to_owned(),
        headers: vec![("Accept".to_owned(), "text/plain".to_owned())],
        ..Request::default()
    };

    let trace = ask_once(&server, request).await;

    let head = &server.asked()[0].head;
    let lines: Vec<_> = head.split("\r\n").collect();
    assert_eq!(lines[0], "GET /a?b=c HTTP/1.1");
    assert_eq!(lines[1], format!("Host: {}", server.addr));
    assert_eq!(
        lines[2],
        format!("x-galileo-request-id: {}", trace.request_id)
    );
    assert!(
        lines[3].starts_with("traceparent: 00-") && lines[3].ends_with("-01"),
        "{head}"
    );
    assert_eq!(lines[4..], ["Accept: text/plain", "", ""]);
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let InTurn { server, report, .. } =
        in_turn(|| Server::start(|_| Reply::ok()), Request::default(), 5).await;

    assert_eq!(
        (
            report.measured.completed,
            report.connections,
            server.accepted()
        ),
        (5, 1, 1)
    );
}

#[tokio::test]
async fn a_connection_announced_as_closed_is_not_used_again() {
    let server = Server::start(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            Then::Close,
        )
    });

    let (report, _) = run(constant(server.target(), "20/s", Extent::Requests(5))).await;

    assert_eq!(
        (
            report.measured.completed,
            report.measured.retried,
            server.accepted()
        ),
        (5, 0, 5)
    );
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_unannounced_is_noticed_before_it_is_used() {
    let server = || {
        Server::start(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Close))
    };

    let InTurn { server, report, .. } = in_turn(server, post(b"x".to_vec()), 4).await;

    assert_eq!(
        (
            report.measured.completed,
            report.measured.retried,
            server.accepted()
        ),
        (4, 0, 4)
    );
}

/// The server takes the second request of each connection and closes without a word.
fn forgetful_server() -> Server {
    Server::start(|asked| {
        if asked.nth == 0 {
            Reply::ok()
        } else {
            Reply::raw("", Then::Close)
        }
    })
}

#[tokio::test]
async fn an_idempotent_request_on_a_connection_that_broke_is_sent_once_more() {
    let InTurn {
        server,
        report,
        traces,
    } = in_turn(forgetful_server, Request::default(), 3).await;

    // The second and third each meet a used connection; the new one they get is used then too.
    assert_eq!(
        (
            report.measured.completed,
            report.measured.retried,
            report.connections
        ),
        (3, 2, 3)
    );
    let asked = server.asked();
    let second: Vec<_> = asked
        .iter()
        .filter(|asked| header(&asked.head, "x-galileo-request-id") == traces[1].request_id)
        .collect();
    assert_eq!(second.len(), 2, "both attempts carry the id of the request");
    assert_ne!(second[0].connection, second[1].connection);
}

#[tokio::test]
async fn other_requests_on_a_connection_that_broke_are_failures() {
    let InTurn { report, .. } = in_turn(forgetful_server, post(b"x".to_vec()), 4).await;

    assert_eq!((report.measured.completed, report.measured.retried), (2, 0));
    assert_eq!(
        report.measured.failed_by_kind,
        [(FailureKind::Closed, 2)].into()
    );
}

#[tokio::test]
async fn a_long_body_arrives_whole() {
    let body: Vec<u8> = (0..8 * 1024 * 1024u32).map(|n| (n % 251) as u8).collect();
    let server = Server::start(|_| Reply::ok());

    let trace = ask_once(&server, post(body.clone())).await;

    assert_eq!(trace.outcome, Outcome::Completed);
    assert!(server.asked()[0].body == body);
}

#[tokio::test]
async fn an_answer_that_refuses_a_long_body_early_is_taken() {
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start_hasty(move |_| Reply::raw(answer, Then::Hang));

    let trace = ask_once(&server, post(vec![b'x'; 32 * 1024 * 1024])).await;

    assert_eq!(
        (trace.outcome, trace.status),
        (Outcome::Failed(FailureKind::Http4xx), Some(413))
    );
}

#[tokio::test]
async fn every_framing_of_an_answer_is_read_and_its_bytes_are_counted() {
    let long = "x".repeat(3_000_000);
    let fixed = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n{long}");
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2dc6c0;a=b\r\n{long}\r\n0\r\nT: x\r\n\r\n"
    );
    let closed = format!("HTTP/1.0 200 OK\r\n\r\n{long}");
    for (answer, then, bytes) in [
        (fixed, Then::Keep, 3_000_000),
        (chunked, Then::Keep, 3_000_000),
        (closed, Then::Close, 3_000_000),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Then::Keep, 0),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned(),
            Then::Keep,
            0,
        ),
    ] {
        let server = || {
            let answer = answer.clone();
            Server::start(move |_| Reply::raw(answer.clone(), then))
        };
        let InTurn {
            server,
            report,
            traces,
        } = in_turn(server, Request::default(), 2).await;
        assert_eq!(report.measured.completed, 2);
        assert!(traces.iter().all(|trace| trace.response_bytes == bytes));
        assert_eq!(server.accepted(), if then == Then::Keep { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let server = Server::start(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nX-Final-Host: 10.0.0.7:80\r\nContent-Length: 9\r\n\r\n",
            Then::Keep,
        )
    });
    let trace = ask_once(
        &server,
        Request {
            method: "HEAD".to_owned(),
            ..Request::default()
        },
    )
    .await;

    assert_eq!(
        (trace.outcome, trace.status, trace.response_bytes),
        (Outcome::Completed, Some(200), 0)
    );
    assert_eq!(trace.server.as_deref(), Some("10.0.0.7:80"));
}

#[tokio::test]
async fn each_way_to_fail_has_its_kind() {
    for (reply, kind, status) in [
        (Reply::raw("", Then::Reset), FailureKind::Reset, None),
        (Reply::raw("", Then::Close), FailureKind::Closed, None),
        (
            Reply::raw(
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
                Then::Close,
            ),
            FailureKind::Closed,
            Some(200),
        ),
        (
            Reply::raw("SSH-2.0-x\r\n", Then::Hang),
            FailureKind::Protocol,
            None,
        ),
        (Reply::never(), FailureKind::Timeout, None),
        (
            Reply::raw(
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
                Then::Hang,
            ),
            FailureKind::Timeout,
            Some(200),
        ),
        (
            Reply::raw(
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                Then::Keep,
            ),
            FailureKind::Http4xx,
            Some(404),
        ),
        (
            Reply::raw("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Then::Keep),
            FailureKind::Http5xx,
            Some(503),
        ),
    ] {
        let server = Server::start(move |_| reply.clone());
        // Where a head is to come within the time-out, that leaves the server time.
        let timeout = match (kind, status) {
            (FailureKind::Timeout, None) => Duration::from_millis(300),
            (FailureKind::Timeout, Some(_)) => Duration::from_secs(2),
            _ => Duration::from_secs(30),
        };
        let workload = Workload {
            timeout,
            ..constant(server.target(), "100/s", Extent::Requests(1))
        };
        let (report, traces) = run(workload).await;
        assert_eq!(report.measured.failed_by_kind, [(kind, 1)].into());
        assert_eq!(
            (traces[0].outcome, traces[0].status),
            (Outcome::Failed(kind), status)
        );
        assert!(traces[0].sent_ns.is_some() && traces[0].done_ns >= traces[0].sent_ns);
        if kind == FailureKind::Timeout {
            let waited_ns = traces[0].done_ns.unwrap() - traces[0].sent_ns.unwrap();
            assert!(u128::from(waited_ns) >= timeout.as_nanos());
        }
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_failure_to_connect() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);

    let (report, traces) = run(constant(Target::new(addr), "100/s", Extent::Requests(5))).await;

    assert_eq!(
        report.measured.failed_by_kind,
        [(FailureKind::Connect, 5)].into()
    );
    assert!(
        traces
            .iter()
            .all(|trace| trace.sent_ns.is_none() && trace.done_ns.is_some())
    );
}

/// Two replicas in turn answer too slowly for one connection each: all connections together stay within the limit.
#[tokio::test]
async fn connections_idle_ones_included_are_never_more_than_the_limit_in_flight() {
    let replica = || {
        Server::start(|_| {
            crate::server::stall_until(galileo_wire::clock::boot_ns() + 30 * MS);
            Reply::ok()
        })
    };
    let servers = [replica(), replica(), replica(), replica()];
    let targets = servers.iter().map(Server::target).collect();
    let workload = Workload {
        targets,
        in_flight: 2,
        ..constant(servers[0].target(), "20/s", ms(1_000))
    };

    let (report, _) = run(workload).await;

    assert_eq!(report.measured.failed(), 0);
    // With room for two, each replica's connection has to make way for the next but one.
    assert!(
        report.connections >= report.measured.completed / 2,
        "{} connections",
        report.connections
    );
}

/// A server that is not of this project, speaks HTTP/1.0 and closes after each answer.
#[tokio::test]
async fn pythons_own_server_answers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.txt"), "content").unwrap();
    let python = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut python) = python else {
        galileo_skips::skip("there is no python3 here");
        return;
    };
    // "Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ..."
    let mut line = String::new();
    std::io::BufReader::new(python.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port: u16 = line.split(' ').nth(5).unwrap().parse().unwrap();

    let request = Request {
        path: "/page.txt".to_owned(),
        ..Request::default()
    };
    let target = Target::new(([127, 0, 0, 1], port).into());
    let (report, traces) = run(Workload {
        request,
        ..constant(target, "100/s", Extent::Requests(20))
    })
    .await;
    python.kill().unwrap();
    python.wait().unwrap();

    assert_eq!(report.measured.completed, 20);
    assert!(traces.iter().all(|trace| trace.response_bytes == 7));
}
