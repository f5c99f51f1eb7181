//! Cgroups that come and go.

use std::{collections::BTreeSet, thread};

use galileo_probes::{Config, Ledger, Probes};
use galileo_tests::{
    free_port, http::Client, nginx::Nginx, pod::Pod, turn, wait::until, watch::Watch, wire::Wire,
};

/// A server of so many requests, then it ends: what is left of it is its sockets.
const SERVER: &str = r#"
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready")
peer, _ = listener.accept()
for _ in range(int(sys.argv[2])):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(4096)
    peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
print("done")
input()
"#;

/// Serves so many requests in a pod of its own, which is gone thereafter.
fn short_life(watch: &Watch, requests: u64) -> (galileo_probes::cgroup::CgroupId, u64) {
    let pod = Pod::new("short");
    let port = free_port();
    let mut server = pod.python(SERVER, &[&port.to_string(), &requests.to_string()]);
    assert_eq!(server.line(), "ready");
    let mut client = Client::connect(port);
    for index in 0..requests {
        assert_eq!(
            client.request("GET", "/", &index.to_string(), b"").status,
            204
        );
    }
    assert_eq!(server.line(), "done");
    let generation = until("the last answer is counted", || {
        let snapshot = watch.snapshot();
        let stats = snapshot.cgroups.get(&pod.id)?;
        (stats.server.count == requests).then_some(stats.generation)
    });
    (pod.id, generation)
}

#[test]
fn what_a_short_lived_cgroup_counted_is_read_after_it_is_gone() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let before = watch.snapshot();
    let (id, _) = short_life(&watch, 7);
    // The first of these finds it gone, or the next ones do.
    for _ in 0..3 {
        let used = watch.snapshot().since(&before);
        assert_eq!(used.cgroups[&id].server.count, 7);
        assert!(used.cgroups[&id].on_cpu_ns > 0);
    }
}

#[test]
fn a_place_that_changes_hands_counts_for_the_new_cgroup_alone() {
    // D-14 in the kernel: the second cgroup has the place of the first, and less counted than that had.
    let _turn = turn();
    let Some(watch) = Watch::start(&Config {
        // Some beyond those of the machine, where others come and go meanwhile. The place given back last is taken first.
        cgroups: Some(cgroups_of_the_machine() + 64),
        ..Config::default()
    }) else {
        return;
    };
    let mut ids = BTreeSet::new();
    let mut generations = BTreeSet::new();
    let requests = [40, 3, 2, 50, 1, 7, 4, 2, 9, 1, 5, 30, 1, 2, 3];
    let mut before = watch.snapshot();
    for requests in requests {
        let (id, generation) = short_life(&watch, requests);
        assert!(ids.insert(id) && generations.insert(generation));
        let now = watch.snapshot();
        let used = now.since(&before);
        // Never the difference to another's total, and never negative.
        assert_eq!(used.cgroups[&id].server.count, requests);
        for earlier in ids.iter().filter(|earlier| **earlier != id) {
            let counted = used.cgroups.get(earlier).map(|stats| stats.server.count);
            assert_eq!(counted.unwrap_or(0), 0);
        }
        before = now;
    }
    let ledger = watch.snapshot().ledger;
    assert_eq!(ledger[&Ledger::SlotsFull], 0, "{ledger:?}");
}

/// How many cgroups there are. Those that run nothing take no place, those of other tests may come.
fn cgroups_of_the_machine() -> u32 {
    let mount = galileo_probes::cgroup::mount_point().unwrap();
    galileo_probes::cgroup::below(&mount, &mount).len() as u32
}

/// Some work, and a datagram to nobody at the other end of the wire.
const SHORT: &str =
    "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; echo x > /dev/udp/10.9.0.2/9; echo x";

/// Memory of this process.
fn rss(probes: &Probes) -> u64 {
    probes.cost().rss_bytes
}

#[test]
fn a_thousand_cgroups_come_and_go_beside_traffic_and_leave_nothing_in_maps_or_memory() {
    let _turn = turn();
    let places = cgroups_of_the_machine() + 120;
    let Some(mut watch) = Watch::start(&Config {
        cgroups: Some(places),
        ..Config::default()
    }) else {
        return;
    };
    let server = Nginx::start();
    let port = server.port;
    let wire = Wire::new();
    let short_life = wire.left.command(&["bash", "-c", SHORT]);
    let short_life: Vec<_> = short_life.iter().map(AsRef::as_ref).collect();
    let before = watch.snapshot();
    let others = watch.probes.tables().interfaces;
    let traffic = thread::spawn(move || {
        let mut client = Client::connect(port);
        for index in 0..20_000_u32 {
            client.request("GET", "/", &index.to_string(), b"");
        }
    });
    let mut short = BTreeSet::new();
    let (mut lived, mut sent) = (0_u64, 0_u64);
    let mut early_rss = 0;
    for round in 0..100 {
        // Places are given back with readings.
        until("there are places for ten", || {
            watch.snapshot();
            let tables = watch.probes.tables();
            (tables.cgroups + tables.waiting + 20 < places as usize).then_some(())
        });
        // Ten at once; each runs a program, and some of them disturb one another.
        let pods: Vec<Pod> = (0..10).map(|_| Pod::new("short")).collect();
        let mut programs: Vec<_> = pods.iter().map(|pod| pod.start(&short_life)).collect();
        for program in &mut programs {
            assert_eq!(program.line(), "x");
        }
        short.extend(pods.iter().map(|pod| pod.id));
        drop(programs);
        // What they used is seen, each for itself.
        let snapshot = watch.snapshot();
        for pod in &pods {
            if let Some(stats) = snapshot.cgroups.get(&pod.id) {
                lived += u64::from(stats.on_cpu_ns > 0);
                let over_wire = stats.interfaces.values().map(|traffic| traffic.tx_packets);
                sent += over_wire.sum::<u64>();
            }
        }
        drop(pods);
        watch.stream.drain();
        if round == 20 {
            early_rss = rss(&watch.probes);
        }
    }
    traffic.join().unwrap();
    assert_eq!(lived, 1_000);
    assert_eq!(sent, 1_000);
    assert_eq!(short.len(), 1_000);

    // All of the traffic was seen beside it.
    let used = until("the last answer is counted", || {
        let used = watch.snapshot().since(&before);
        (used.cgroups[&server.pod.id].server.count == 20_000).then_some(used)
    });
    assert_eq!(used.machine[&Ledger::SlotsFull], 0, "{:?}", used.machine);
    assert_eq!(used.machine[&Ledger::TasksFull], 0, "{:?}", used.machine);
    // Each of the thousand had an entry of its own for the wire, of a table for a quarter of them.
    assert_eq!(used.ledger[&Ledger::InterfacesFull], 0, "{:?}", used.ledger);
    // A quarter of the places is free again: those that are gone keep no more than they may.
    let tables = until("the places are given back", || {
        watch.snapshot();
        let tables = watch.probes.tables();
        (tables.waiting == 0 && tables.cgroups * 4 <= places as usize * 3).then_some(tables)
    });
    assert!(tables.shared_pairs < 4 * places as usize, "{tables:?}");
    // Those that are gone and still read have the one over the wire.
    assert!(
        tables.interfaces <= others + tables.cgroups,
        "{tables:?}, {others} interfaces before"
    );
    // A snapshot names none that is not listed.
    let last = watch.snapshot();
    for blame in last.blames.keys() {
        assert!(last.cgroups.contains_key(&blame.victim));
        assert!(last.cgroups.contains_key(&blame.aggressor));
    }
    let late_rss = rss(&watch.probes);
    assert!(
        late_rss < early_rss + (8 << 20),
        "{early_rss} B after two hundred, {late_rss} B after a thousand"
    );
}
