//! What a client and the records get when something fails.

mod harness;

use std::io::Write;
use std::time::Duration;

use harness::upstream::{close, ok, silent};
use harness::{Front, Upstream, wait_until};

#[test]
fn an_unknown_service_is_404_with_text_and_the_connection_stays() {
    let mut front = Front::start(&[]);
    let mut client = front.client();
    for (path, text) in [
        (
            "/function/none/x",
            "404 Not Found: no service \"none\" (cause: no_service)\n",
        ),
        (
            "/elsewhere",
            "404 Not Found: ask for /function/<service>/<path> (cause: no_service)\n",
        ),
    ] {
        let response = client.get(path);
        assert_eq!((response.status, &*response.text()), (404, text));
        assert_eq!(response.header("x-galileo-cause"), Some("no_service"));
        assert_eq!(response.header("connection"), Some("keep-alive"));
    }
    let hop = front.hop();
    assert_eq!(
        (&*hop.service, hop.replica, hop.status),
        ("none", None, 404)
    );
    assert_eq!(hop.cause.as_deref(), Some("no_service"));
    assert_eq!(front.hop().service, "");
}

#[test]
fn a_service_without_replicas_is_503_with_retry_after() {
    let web = Upstream::named("web");
    let mut front = Front::start(&[("zero", &[(&web, 0)]), ("empty", &[])]);
    for (service, why) in [
        ("zero", "the weights of its replicas are zero"),
        ("empty", "it has no replicas"),
    ] {
        let response = front.get(&format!("/function/{service}/"));
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), Some("1"));
        assert!(response.text().contains(why), "{}", response.text());
        let hop = front.hop();
        assert_eq!(
            (&*hop.service, hop.status, hop.cause.as_deref()),
            (service, 503, Some("no_replica"))
        );
    }
    assert_eq!(web.connections(), 0);
}

#[test]
fn a_replica_that_refuses_is_502_and_its_hop_says_connect() {
    let dead = Upstream::dead();
    let mut front = Front::start(&[("web", &[(&dead, 1)])]);
    let mut client = front.client();
    client.send("GET /function/web/ HTTP/1.1\r\nHost: x\r\nx-galileo-request-id: a:7\r\n\r\n");
    let response = client.response().expect("an answer");
    assert_eq!(response.status, 502);
    assert_eq!(response.header("x-galileo-cause"), Some("connect"));
    assert!(
        response.text().contains(&dead.addr().to_string()),
        "{}",
        response.text()
    );
    let hop = front.hop();
    assert_eq!(hop.request_id.as_deref(), Some("a:7"));
    assert_eq!(hop.replica, Some(dead.addr().to_string()));
    assert_eq!(
        (hop.attempt, hop.status, hop.cause.as_deref()),
        (1, 502, Some("connect"))
    );
    assert_eq!((hop.connect_ns, hop.first_byte_ns), (None, None));
    assert!(hop.start_ns <= hop.end_ns);
}

#[test]
fn a_replica_that_refuses_is_passed_over_whatever_the_method() {
    let (dead, web) = (
        Upstream::dead(),
        Upstream::start(|request, stream| stream.write_all(&ok(&request.body)).is_ok()),
    );
    let mut front = Front::start(&[("web", &[(&dead, 5), (&web, 1)])]);
    let mut client = front.client();
    client.send("POST /function/web/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    let response = client.response().expect("an answer");
    assert_eq!((response.status, &*response.text()), (200, "body"));
    assert_eq!(
        response.header("x-final-host"),
        Some(&*web.addr().to_string())
    );
    let (first, second) = (front.hop(), front.hop());
    assert_eq!(
        (first.attempt, first.status, first.cause.as_deref()),
        (1, 502, Some("connect"))
    );
    assert_eq!(first.replica, Some(dead.addr().to_string()));
    assert_eq!(
        (second.attempt, second.status, second.cause),
        (2, 200, None)
    );
    assert_eq!(second.replica, Some(web.addr().to_string()));
    assert!(first.end_ns <= second.connect_ns.expect("a connection"));
}

#[test]
fn no_more_replicas_are_asked_than_attempts_allow() {
    let dead: Vec<_> = (0..3).map(|_| Upstream::dead()).collect();
    let replicas: Vec<_> = dead.iter().map(|dead| (dead, 1)).collect();
    for (attempts, hops) in [(1, 1), (2, 2), (5, 3)] {
        let front = Front::start_with(&[("web", &replicas)], |config| config.attempts = attempts);
        assert_eq!(front.get("/function/web/").status, 502);
        let (_, mut records) = front.stop(Duration::ZERO);
        let mut seen = Vec::new();
        while let Some(hop) = harness::block_on(records.recv()) {
            seen.push(hop.attempt);
        }
        assert_eq!(
            seen,
            (1..=hops).collect::<Vec<u32>>(),
            "with {attempts} attempts"
        );
    }
}

#[test]
fn the_answer_reaches_a_client_that_is_still_sending() {
    let dead = Upstream::dead();
    let front = Front::start(&[("web", &[(&dead, 1)])]);
    let mut client = front.client();
    client.send("POST /function/web/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n");
    // More than the socket buffers hold: without the balancer reading on, this or the answer would fail.
    client.send(vec![b'x'; 4_000_000]);
    assert_eq!(client.response().expect("an answer").status, 502);
}

#[test]
fn a_replica_that_is_silent_is_504() {
    let web = Upstream::start(|request, stream| match request.target() {
        "/fast" => stream.write_all(&ok("fast")).is_ok(),
        _ => silent(stream),
    });
    let mut front = Front::start_with(&[("web", &[(&web, 1)])], |config| {
        config.response_timeout = Duration::from_millis(200);
    });
    let mut client = front.client();
    client.send_get("/function/web/slow");
    let response = client.response().expect("an answer");
    assert_eq!(
        (response.status, response.header("x-galileo-cause")),
        (504, Some("timeout"))
    );
    let hop = front.hop();
    assert_eq!((hop.status, hop.cause.as_deref()), (504, Some("timeout")));
    let connected = hop.connect_ns.expect("a connection");
    assert!(hop.end_ns - connected >= 200_000_000, "{hop:?}");
    assert_eq!(hop.first_byte_ns, None);
    assert_eq!(front.get("/function/web/fast").text(), "fast");
}

#[test]
fn a_replica_that_hangs_up_is_502() {
    let web = Upstream::start(|_, _| false);
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let response = front.get("/function/web/");
    assert_eq!(
        (response.status, response.header("x-galileo-cause")),
        (502, Some("closed"))
    );
    assert_eq!(front.hop().cause.as_deref(), Some("closed"));
    assert_eq!(
        web.seen().len(),
        1,
        "a request on a fresh connection is not repeated"
    );
}

#[test]
fn a_replica_that_speaks_something_else_is_502() {
    let web =
        Upstream::start(|_, stream| stream.write_all(b"220 mail.example ESMTP\r\n\r\n").is_ok());
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let response = front.get("/function/web/");
    assert_eq!(
        (response.status, response.header("x-galileo-cause")),
        (502, Some("protocol"))
    );
    assert_eq!(front.hop().cause.as_deref(), Some("protocol"));
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let web = Upstream::start(|_, stream| {
        close(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    });
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send_get("/function/web/");
    assert_eq!(client.head().expect("a head").status, 200);
    assert_eq!(client.rest(), b"half");
    let hop = front.hop();
    assert_eq!((hop.status, hop.cause.as_deref()), (200, Some("closed")));
    assert!(hop.first_byte_ns.is_some());
}

// A replica may close a kept connection at any moment, also while the next request is on its way to it.
#[test]
fn a_kept_connection_that_died_is_made_anew_for_what_may_be_repeated() {
    let web = Upstream::start(|request, stream| {
        request.turn == 1 && stream.write_all(&ok("fresh")).is_ok()
    });
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    assert_eq!(front.get("/function/web/1").text(), "fresh");
    // The connection to the replica is kept before the hop is recorded, and not before the client has its answer.
    let first = front.hop();
    assert_eq!(front.get("/function/web/2").text(), "fresh");
    let targets: Vec<_> = web
        .seen()
        .iter()
        .map(|r| (r.target().to_owned(), r.connection, r.turn))
        .collect();
    assert_eq!(
        targets,
        [
            ("/1".to_owned(), 1, 1),
            ("/2".to_owned(), 1, 2),
            ("/2".to_owned(), 2, 1)
        ]
    );
    let hops = [first, front.hop(), front.hop()];
    let causes: Vec<_> = hops
        .iter()
        .map(|hop| (hop.attempt, hop.status, hop.cause.as_deref()))
        .collect();
    assert_eq!(
        causes,
        [(1, 200, None), (1, 502, Some("closed")), (2, 200, None)]
    );
}

#[test]
fn what_may_not_be_repeated_is_sent_once() {
    let web = Upstream::start(|request, stream| {
        request.turn == 1 && stream.write_all(&ok("fresh")).is_ok()
    });
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    assert_eq!(front.get("/function/web/").text(), "fresh");
    // See above: now the connection is kept.
    front.hop();
    let mut client = front.client();
    client.send("POST /function/web/order HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(client.response().expect("an answer").status, 502);
    assert_eq!(
        web.seen()
            .iter()
            .filter(|request| request.target() == "/order")
            .count(),
        1
    );
}

#[test]
fn a_client_that_goes_away_is_in_the_records() {
    let web = Upstream::start(|_, stream| silent(stream));
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let mut client = front.client();
    client.send_get("/function/web/");
    wait_until("the replica has the request", || !web.seen().is_empty());
    drop(client);
    let hop = front.hop();
    assert_eq!(
        (hop.status, hop.cause.as_deref()),
        (0, Some("client_closed"))
    );
    wait_until("nothing is in flight", || front.balancer.in_flight() == 0);
}

#[test]
fn times_of_a_hop_are_in_order() {
    let web = Upstream::named("web");
    let mut front = Front::start(&[("web", &[(&web, 1)])]);
    let before = galileo_wire::clock::boot_ns();
    assert_eq!(front.get("/function/web/").status, 200);
    let hop = front.hop();
    let times = [
        before,
        hop.start_ns,
        hop.connect_ns.expect("one"),
        hop.first_byte_ns.expect("one"),
        hop.end_ns,
    ];
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(
        (&*hop.service, hop.attempt, hop.status, hop.cause),
        ("web", 1, 200, None)
    );
}

#[test]
fn records_that_nobody_reads_are_counted_and_hold_no_request_up() {
    let web = Upstream::named("web");
    let weights = galileo_balancer::InProcessWeights::new();
    weights
        .set("web", [(galileo_balancer::Host::from(web.addr()), 1)])
        .expect("a service");
    let (sender, mut hops) = galileo_balancer::hop_channel(3);
    let config = galileo_balancer::Config::new("127.0.0.1:0".parse().expect("an address"), "n1");
    let balancer = galileo_balancer::start(config, weights.source(), sender).expect("it starts");
    let mut client = harness::Client::connect(balancer.addr());
    assert!((0..10).all(|_| client.get("/function/web/").status == 200));
    harness::block_on(balancer.stop(Duration::ZERO));
    let mut read = 0;
    while harness::block_on(hops.recv()).is_some() {
        read += 1;
    }
    assert_eq!((read, hops.attempted(), hops.dropped()), (3, 10, 7));
}
