//! What is lost is counted.

use galileo_probes::{Config, Ledger};
use galileo_tests::{http::Client, nginx::Nginx, pod::own_cgroup, talk::Talk, turn, watch::Watch};

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
    let server = Nginx::start();
    let pod = &server.pod;
    let mut client = Client::connect(server.port);
    for index in 0..gets {
        client.request("GET", "/", &index.to_string(), b"");
    }
    watch.until_counted("the last answer is counted", pod.id, |snapshot| {
        (snapshot.cgroups[&pod.id].server.count == gets).then_some(())
    });
    // Of this server, to the last exchange.
    let of_pod = watch.snapshot().cgroups[&pod.id].ledger.clone();
    let count = |kind| of_pod.get(&kind).copied().unwrap_or(0);
    assert_eq!(count(Ledger::ExchangesAttempted), gets, "{of_pod:?}");
    assert!(count(Ledger::RingFull) > 0, "{of_pod:?}");
    assert_eq!(
        gets,
        count(Ledger::ExchangesSeen) + count(Ledger::RingFull),
        "{of_pod:?}"
    );
    // Of the whole machine, at a moment at which nothing happens.
    let ledger = watch.calm_ledger();
    let (attempted, seen, full) = (
        ledger[&Ledger::ExchangesAttempted],
        ledger[&Ledger::ExchangesSeen],
        ledger[&Ledger::RingFull],
    );
    assert!(attempted >= 2 * gets, "{ledger:?}");
    assert_eq!(attempted, seen + full, "{ledger:?}");
    // The reader comes back: what it gets is what was said to be seen.
    let drained = watch.stream.drain().to_vec();
    assert_eq!(
        drained.len() as u64 + watch.stream.unreadable(),
        seen,
        "{ledger:?}"
    );
    let of_pod = drained.iter().filter(|exchange| exchange.cgroup == pod.id);
    assert_eq!(of_pod.count() as u64, count(Ledger::ExchangesSeen));
}

#[test]
fn the_ledger_of_the_machine_is_the_sum_of_the_cgroups_and_of_what_is_nobodys() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    // One speaks no HTTP, one closes without an answer; each end counts for itself, and both are this process'.
    let mut other = Talk::new();
    other.ask(b"\x16\x03\x01 is no HTTP");
    for _ in 0..40 {
        other.answer(b"\x16\x03\x01 nor this");
        other.ask(b"\x16\x03\x01 nor that");
    }
    let mut silent = Talk::new();
    silent.ask(b"GET / HTTP/1.1\r\n\r\n");
    silent.close();
    let own = own_cgroup();
    let snapshot = watch.until_counted("both are counted", own, |snapshot| {
        let ledger = &snapshot.cgroups.get(&own)?.ledger;
        let counted = [Ledger::NotHttp, Ledger::ClosedWithoutAnswer]
            .iter()
            .all(|kind| ledger.get(kind).is_some_and(|count| *count >= 2));
        counted.then(|| snapshot.clone())
    });
    for kind in Ledger::ALL {
        let of_cgroups: u64 = snapshot
            .cgroups
            .values()
            .filter_map(|stats| stats.ledger.get(&kind))
            .sum();
        let departed = snapshot.departed.ledger.get(&kind).copied().unwrap_or(0);
        assert_eq!(
            snapshot.ledger[&kind],
            snapshot.machine[&kind] + of_cgroups + departed,
            "{kind:?}"
        );
    }
    // What the machine has for itself is none of these.
    assert_eq!(snapshot.machine[&Ledger::ClosedWithoutAnswer], 0);
    assert_eq!(snapshot.machine[&Ledger::ExchangesAttempted], 0);
}
