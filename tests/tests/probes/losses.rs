//! What is lost is counted.

use galileo_probes::{Config, Ledger};
use galileo_tests::{free_port, http::Client, pod::Pod, turn, wait::until, watch::Watch};

#[test]
fn a_ring_too_small_for_a_stopped_reader_counts_every_exchange_it_loses() {
    // D-08
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config {
        ring_bytes: 1,
        ..Config::default()
    }) else {
        return;
    };
    let gets = 10_000_u64;
    let pod = Pod::new("server");
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = pod.nginx(
        folder.path(),
        port,
        "location / { return 200 \"fine\\n\"; }",
    );
    let mut client = Client::connect(port);
    for index in 0..gets {
        client.request("GET", "/", &index.to_string(), b"");
    }
    until("the last answer is counted", || {
        (watch.snapshot().cgroups[&pod.id].server.count == gets).then_some(())
    });
    let ledger = watch.calm_ledger();
    let (attempted, seen, full) = (
        ledger[&Ledger::ExchangesAttempted],
        ledger[&Ledger::ExchangesSeen],
        ledger[&Ledger::RingFull],
    );
    assert!(attempted >= 2 * gets, "{ledger:?}");
    assert!(full > 0, "{ledger:?}");
    assert_eq!(attempted, seen + full, "{ledger:?}");
    // The reader comes back: what it gets is what was said to be seen.
    let drained = watch.stream.drain().len() as u64;
    assert_eq!(drained + watch.stream.unreadable(), seen);
    assert!(drained > 0);
}
