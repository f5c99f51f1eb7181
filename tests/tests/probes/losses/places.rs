//! More cgroups, and more pairs of them, than there is place for.

use std::time::Duration;

use galileo_probes::{Blame, Closure, Config, Feature, Ledger, Role, Snapshot};
use galileo_tests::{
    pod::Pod,
    segments::home::Home,
    turn,
    wait::until,
    watch::{Watch, of_role, reading_ns},
};
use rustix::time::{ClockId, clock_gettime};

/// Probes all of whose places are taken, two by cgroups that stay, and a pod below `home` that found none.
fn without_a_place(home: &Home) -> Option<(Watch, Pod)> {
    let watch = Watch::start(&Config {
        cgroups: Some(2),
        // Packets of others are not seen.
        cgroup_mount: Some(home.folder().to_owned()),
        ..Config::default()
    })?;
    until("all places are taken", || {
        let snapshot = watch.snapshot();
        (snapshot.cgroups.len() == 2 && watch.probes.tables().waiting == 0).then_some(())
    });
    Some((watch, Pod::inside(home.folder(), "late")))
}

/// The pod had no place throughout.
fn assert_without_a_place(watch: &Watch, pod: &Pod) {
    let snapshot = watch.snapshot();
    assert!(!snapshot.cgroups.contains_key(&pod.id), "{snapshot:?}");
}

/// Sends datagrams to itself, or has exchanges, each on a connection of its own, as many as told.
const PEER: &str = r#"
import socket, sys
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.connect(sink.getsockname())
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1])
def datagram():
    out.send(bytes(100))
    sink.recv(200)
def exchange():
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"GET /placeless HTTP/1.1\r\n\r\n")
    server.recv(100)
    server.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    client.recv(100)
    client.close()
    server.recv(1)
    server.close()
for line in sys.stdin:
    what, count = line.split()
    for _ in range(int(count)):
        {"datagrams": datagram, "exchanges": exchange}[what]()
    print("done")
"#;

#[test]
fn each_packet_and_each_connection_of_a_cgroup_without_a_place_is_counted_as_such() {
    let _turn = turn();
    let home = Home::enter();
    let Some((mut watch, pod)) = without_a_place(&home) else {
        return;
    };
    // Switches of the whole machine find no place, either.
    watch.probes.pause_feature(Feature::Cpu);
    let mut peer = pod.python(PEER, &[]);
    let port = peer.line().parse().unwrap();

    let before = watch.snapshot();
    assert_eq!(peer.ask("datagrams 50"), "done");
    let used = watch.snapshot().since(&before);
    // Sent, and received.
    assert_eq!(used.ledger[&Ledger::SlotsFull], 100, "{:?}", used.ledger);

    let before = watch.snapshot();
    assert_eq!(peer.ask("exchanges 30"), "done");
    // Both ends of each connection are nobody's.
    let used = until("the connections have ended", || {
        let used = watch.snapshot().since(&before);
        (used.ledger[&Ledger::ConnectionUnassigned] >= 60).then_some(used)
    });
    let ledger = &used.ledger;
    assert_eq!(ledger[&Ledger::ConnectionUnassigned], 60, "{ledger:?}");
    assert!(ledger[&Ledger::SlotsFull] > 60, "{ledger:?}");
    // Exchanges are records, whose cgroup is told.
    let seen = watch.wait_for(port, 60);
    assert!(seen.iter().all(|exchange| exchange.cgroup == pod.id));
    for role in [Role::Server, Role::Client] {
        assert_eq!(of_role(&seen, role).len(), 30);
    }
    assert_eq!(ledger[&Ledger::ExchangesAttempted], 60, "{ledger:?}");
    assert_eq!(ledger[&Ledger::ExchangesSeen], 60, "{ledger:?}");
    assert_without_a_place(&watch, &pod);
}

/// Sleeps and then spins, in milliseconds of CPU time, as often as told.
const WORKER: &str = r#"
import sys, time
for line in sys.stdin:
    sleeps, spin = map(int, line.split())
    for _ in range(sleeps):
        time.sleep(0.0003)
    end = time.process_time() + spin / 1e3
    while time.process_time() < end:
        pass
    print("done")
"#;

#[test]
fn time_and_waits_of_a_cgroup_without_a_place_are_nobodys_and_counted() {
    let _turn = turn();
    let home = Home::enter();
    let Some((watch, pod)) = without_a_place(&home) else {
        return;
    };
    let mut worker = pod.python(WORKER, &[]);
    worker.ask("1 1");
    worker.sleeps();
    let before = watch.snapshot();
    assert_eq!(worker.ask("200 300"), "done");
    worker.sleeps();
    let after = watch.snapshot();
    let used = after.since(&before);
    // Others have no place, either: at least so many. Each sleep ends with a wait, which is found to be nobody's at the next switch, and
    // a place is asked for at each.
    let ledger = &used.ledger;
    assert!(ledger[&Ledger::SlotsFull] >= 200, "{ledger:?}");
    assert!(ledger[&Ledger::WaitUnassigned] >= 200, "{ledger:?}");
    let closure = Closure::between(&before, &after);
    assert!(closure.unassigned_ns >= 297_000_000, "{closure:?}");
    // Nothing is missing for that.
    assert!(
        closure.lost_ns().abs() <= closure.watched_ns / 200,
        "{closure:?}"
    );
    assert_without_a_place(&watch, &pod);
}

/// Gives CPU 1 to whoever else wants it, over and over, once it is told to.
const YIELDER: &str = r#"
import os, sys
sys.stdin.readline()
os.sched_setaffinity(0, {1})
while True:
    os.sched_yield()
"#;

/// What this thread has used.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

#[test]
fn of_more_pairs_than_the_matrix_has_room_for_the_rest_is_counted_and_nobodys() {
    // On one CPU there is room for 4,096, and for 16,384 beside these; each of so many pods waits for each other one.
    const PODS: usize = 160;
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let before = watch.snapshot();
    assert_eq!(before.ledger[&Ledger::MatrixFull], 0);
    let pods: Vec<_> = (0..PODS).map(|_| Pod::new("one-of-many")).collect();
    let mut yielders: Vec<_> = pods.iter().map(|pod| pod.python(YIELDER, &[])).collect();
    for yielder in &mut yielders {
        yielder.say("go");
    }
    // Each runs, and so each waits for all others, several times.
    let turns = |snapshot: &Snapshot, pod: &Pod| {
        let stats = snapshot.cgroups.get(&pod.id);
        stats.map_or(0, |stats| stats.switches_involuntary)
    };
    let begin = until("all run", || {
        let snapshot = watch.snapshot();
        let runs = |pod| turns(&snapshot, pod) >= 100;
        pods.iter().all(runs).then(|| snapshot.clone())
    });
    let mut longest = Duration::ZERO;
    let end = until("each has had its turn many times", || {
        let before = cpu_time();
        let snapshot = watch.snapshot();
        longest = longest.max(cpu_time() - before);
        let had = |pod| turns(&snapshot, pod) >= turns(&begin, pod) + 100;
        pods.iter().all(had).then(|| snapshot.clone())
    });
    drop(yielders);
    // However many pairs move while it is read: once more would be as many again.
    println!("a reading took up to {longest:?} of CPU time");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let told = pods.iter().flat_map(|victim| {
        let others = pods.iter().filter(|other| other.id != victim.id);
        others.map(|aggressor| Blame {
            victim: victim.id,
            aggressor: aggressor.id,
        })
    });
    let told = told.filter(|blame| end.blames.contains_key(blame)).count();
    let full = end.ledger[&Ledger::MatrixFull];
    let missing = PODS * (PODS - 1) - told;
    assert!(missing > 4_000, "{missing} are missing");
    assert!(full >= missing as u64, "{full} counted, {missing} missing");
    // That they waited is known of each, and nobody is blamed for more.
    for pod in &pods {
        let stats = &end.cgroups[&pod.id];
        let blamed: u64 = end
            .blames
            .iter()
            .filter(|(blame, _)| blame.victim == pod.id)
            .map(|(_, ns)| ns)
            .sum();
        // The matrix is read some time after the counters.
        assert!(
            blamed <= stats.wait_other_ns + 50_000_000 + reading_ns(&end),
            "{blamed} ns of {} ns",
            stats.wait_other_ns
        );
        assert!(stats.wait_other_ns * 2 > stats.wait.sum_ns, "{stats:?}");
    }
}
