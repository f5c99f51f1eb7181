//! What is lost is counted.
//!
//! In reading order: this file (rings, and more pipelined requests than are kept), `places` (more cgroups and pairs than there is place
//! for), `memory` (what a kernel without memory refuses).

mod memory;
mod places;

use galileo_probes::{Config, Feature, Ledger, Role};
use galileo_tests::{
    http::Client,
    nginx::Nginx,
    pod::own_cgroup,
    segments::home::Home,
    talk::Talk,
    turn,
    wait::until,
    watch::{Watch, of_role},
};

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

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn pipelined_requests_beyond_those_that_are_kept_are_lost_one_by_one() {
    // The oldest, and the last 28.
    const KEPT: usize = 1 + 28;
    let _turn = turn();
    let home = Home::enter();
    for (each_end, exchanges_before) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let Some(mut watch) = Watch::start(&Config {
            each_end,
            cgroup_mount: Some(home.folder().to_owned()),
            ..Config::default()
        }) else {
            return;
        };
        // What is counted of the whole machine's tasks is not the test's.
        watch.probes.pause_feature(Feature::Cpu);
        let mut talk = Talk::new();
        // From the second exchange on, one end is looked at for both, unless each is to be.
        for _ in 0..exchanges_before {
            talk.ask(b"GET /before HTTP/1.1\r\n\r\n");
            talk.answer(ANSWER);
        }
        for requests in [KEPT, KEPT + 1, KEPT + 11, 100] {
            watch.seen(talk.port);
            watch.forget();
            let before = watch.snapshot();
            for number in 0..requests {
                talk.ask(format!("GET /{number} HTTP/1.1\r\n\r\n").as_bytes());
            }
            for _ in 0..requests {
                talk.answer(ANSWER);
            }
            let lost = requests - KEPT;
            let expected: Vec<_> = [0]
                .into_iter()
                .chain(1 + lost..requests)
                .map(|number| format!("/{number}"))
                .collect();
            let seen = watch.wait_for(talk.port, 2 * KEPT);
            for role in [Role::Server, Role::Client] {
                let paths = of_role(&seen, role);
                let paths: Vec<_> = paths.iter().map(|one| one.path.to_string()).collect();
                assert_eq!(paths, expected, "{role:?}");
            }
            let lost = 2 * lost as u64;
            let ledger = until("all answers are counted", || {
                let ledger = watch.snapshot().since(&before).ledger;
                (ledger[&Ledger::JoinedLate] >= lost).then_some(ledger)
            });
            let counted: Vec<_> = ledger
                .into_iter()
                .filter(|(_, count)| *count != 0)
                .collect();
            let kept = 2 * KEPT as u64;
            let mut account = vec![
                (Ledger::ExchangesAttempted, kept),
                (Ledger::ExchangesSeen, kept),
                (Ledger::JoinedLate, lost),
                (Ledger::PendingLost, lost),
            ];
            account.retain(|(_, count)| *count != 0);
            assert_eq!(
                counted, account,
                "each end: {each_end}, {requests} requests"
            );
        }
    }
}
