//! Draining and ending, seen from outside.

mod harness;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use galileo_balancer::{Config, Error, HopSender, InProcessWeights, start};
use harness::upstream::ok;
use harness::{Front, PATIENCE, Upstream, wait_until};

/// A replica that answers when the test says so.
fn held() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(wait));
    let upstream = Upstream::start(move |_, stream| {
        let _ = wait.lock().expect("no panic").recv_timeout(PATIENCE);
        stream.write_all(&ok("late")).is_ok()
    });
    (upstream, go)
}

#[test]
fn draining_lets_a_request_end_and_takes_no_new_connections() {
    let (web, go) = held();
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let addr = front.balancer.addr();
    let mut idle = front.client();
    assert_eq!(idle.get("/function/none/").status, 404);
    let mut busy = front.client();
    busy.send_get("/function/web/");
    wait_until("the replica has the request", || !web.seen().is_empty());
    // The one before may still be on its way out.
    wait_until("one is in flight", || front.balancer.in_flight() == 1);

    let stopping = std::thread::spawn(move || front.stop(PATIENCE));
    wait_until("new connections are refused", || {
        TcpStream::connect(addr).is_err()
    });
    assert_eq!(idle.rest(), b"", "a connection without a request is closed");
    assert!(!stopping.is_finished(), "it waits for the request");
    go.send(()).expect("the replica waits");
    let response = busy.response().expect("an answer");
    assert_eq!((response.status, &*response.text()), (200, "late"));
    assert_eq!(response.header("connection"), Some("close"));

    let (left, mut hops) = stopping.join().expect("it ends");
    assert_eq!(left, 0);
    let statuses: Vec<_> = (0..2)
        .map(|_| harness::block_on(hops.recv()).expect("a hop").status)
        .collect();
    assert_eq!(statuses, [404, 200]);
    assert!(
        harness::block_on(hops.recv()).is_none(),
        "the balancer is gone"
    );
}

#[test]
fn what_is_not_done_at_the_deadline_is_cut_off_and_recorded() {
    let (web, _go) = held();
    let front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send_get("/function/web/");
    wait_until("the replica has the request", || !web.seen().is_empty());
    let begin = Instant::now();
    let (left, mut hops) = front.stop(Duration::from_millis(300));
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(left, 1);
    assert_eq!(client.rest(), b"");
    let hop = harness::block_on(hops.recv()).expect("a hop");
    assert_eq!((hop.status, hop.cause.as_deref()), (0, Some("stopped")));
    assert_eq!(hop.replica, Some(web.addr().to_string()));
}

#[test]
fn without_requests_it_ends_at_once() {
    let front = Front::start(&[]);
    let _idle = front.client();
    let begin = Instant::now();
    assert_eq!(front.stop(PATIENCE).0, 0);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn dropping_it_stops_it() {
    let front = Front::start(&[]);
    let addr = front.balancer.addr();
    assert_eq!(front.get("/function/none/").status, 404);
    drop(front);
    wait_until("nobody listens", || TcpStream::connect(addr).is_err());
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let front = Front::start(&[]);
    let config = Config::new(front.balancer.addr(), "n2");
    match start(config, InProcessWeights::new().source(), HopSender::none()) {
        Err(Error::Listen { addr, .. }) => assert_eq!(addr, front.balancer.addr()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_name_that_cannot_be_in_a_header_is_an_error() {
    for node in ["", "a b", "a:b", "ü"] {
        let config = Config::new("127.0.0.1:0".parse().expect("an address"), node);
        let started = start(config, InProcessWeights::new().source(), HopSender::none());
        assert!(matches!(started, Err(Error::Node { .. })), "{node:?}");
    }
}

#[test]
fn weights_stay_in_force_when_their_source_ends() {
    let web = Upstream::named("web");
    let Front {
        balancer,
        weights,
        hops: _hops,
    } = Front::start(&[("web", &[(&web, 1)])]);
    assert_eq!(
        harness::Client::connect(balancer.addr())
            .get("/function/web/")
            .text(),
        "web"
    );
    drop(weights);
    assert_eq!(
        harness::Client::connect(balancer.addr())
            .get("/function/web/")
            .text(),
        "web"
    );
    assert_eq!(
        harness::block_on(balancer.stop(Duration::ZERO)).left_in_flight,
        0
    );
}
