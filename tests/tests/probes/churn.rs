//! Cgroups that come and go.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use galileo_probes::{Config, Ledger, Probes, cgroup::CgroupId};
use galileo_tests::{
    accounts::Accounts,
    http::Client,
    nginx::Nginx,
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::{Watch, reading_ns},
    wire::Wire,
};

/// Serves so many requests in a pod of its own, which is gone thereafter.
fn short_life(watch: &Watch, requests: u64) -> (CgroupId, u64) {
    let server = Nginx::start();
    let id = server.pod.id;
    let mut client = Client::connect(server.port);
    for index in 0..requests {
        assert_eq!(
            client.request("GET", "/", &index.to_string(), b"").status,
            200
        );
    }
    let generation = watch.until_counted("the last answer is counted", id, |snapshot| {
        let stats = snapshot.cgroups.get(&id)?;
        (stats.server.count == requests).then_some(stats.generation)
    });
    (id, generation)
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
    let places = cgroups_of_the_machine() + 96;
    let Some(watch) = Watch::start(&Config {
        cgroups: Some(places),
        ..Config::default()
    }) else {
        return;
    };
    let few = places as usize / 4;
    let _holders = make_scarce(&watch, places);
    let mut ids = BTreeSet::new();
    let mut generations = BTreeSet::new();
    let requests = [40, 3, 2, 50, 1, 7, 4, 2, 9, 1, 5, 30, 1, 2, 3];
    let mut before = watch.snapshot();
    // More than there are places for, so that one of them changes hands.
    for requests in requests.into_iter().cycle().take(few + 1) {
        // Room for what others start meanwhile.
        until_there_are_places(&watch, places, few / 2);
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

/// Takes places until less than a quarter is free: then they are given back at once.
fn make_scarce(watch: &Watch, places: u32) -> Vec<(Process, Pod)> {
    let mut holders = Vec::new();
    while free_places(watch, places) >= places as usize / 4 {
        let pod = Pod::new("holder");
        let process = pod.start(&["cat"]);
        watch.until_counted("it has a place", pod.id, |snapshot| {
            snapshot.cgroups.contains_key(&pod.id).then_some(())
        });
        holders.push((process, pod));
    }
    holders
}

/// Answers on one connection; says its port, and that it was accepted.
const ON_ONE_CONNECTION: &str = "
import socket
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1])
connection, _ = listener.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print('accepted')
while connection.recv(65536):
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
";

#[test]
fn what_sockets_of_a_gone_cgroup_carry_is_counted_though_its_place_is_given_back() {
    let _turn = turn();
    let places = cgroups_of_the_machine() + 96;
    let Some(watch) = Watch::start(&Config {
        cgroups: Some(places),
        ..Config::default()
    }) else {
        return;
    };
    let _holders = make_scarce(&watch, places);
    let (owner, home) = (Pod::new("owner"), Pod::new("home"));
    let (id, heir) = (owner.id, home.id);
    watch
        .probes
        .set_heirs(move |ids| ids.iter().map(|one| (*one == id).then_some(heir)).collect());
    let mut server = owner.python(ON_ONE_CONNECTION, &[]);
    let mut client = Client::connect(server.line().parse().unwrap());
    assert_eq!(server.line(), "accepted");
    let before = watch.snapshot();
    home.adopt(&server);
    drop(owner);

    let (mut generations, mut asked) = (BTreeSet::new(), 0_u64);
    for round in 0..50 {
        // While nothing is counted it is found gone.
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(110));
            watch.snapshot();
        }
        for index in 0..20 {
            client.request("GET", "/", &format!("{round}-{index}"), b"");
            asked += 1;
            let snapshot = watch.snapshot();
            generations.extend(snapshot.cgroups.get(&id).map(|stats| stats.generation));
            thread::sleep(Duration::from_millis(10));
        }
        if generations.len() > 1 {
            break;
        }
    }
    assert!(generations.len() > 1, "its place was given back");
    watch.until_counted(
        "all of them are counted, and none twice",
        heir,
        |snapshot| {
            let counted = snapshot.since(&before).sum(&[id, heir])?.server.count;
            (counted == asked).then_some(())
        },
    );
}

/// Waits until more than so many places are free: they are given back with readings.
fn until_there_are_places(watch: &Watch, places: u32, free: usize) {
    until("there are places", || {
        (free_places(watch, places) > free).then_some(())
    });
}

/// How many of all places are free after a reading.
fn free_places(watch: &Watch, places: u32) -> usize {
    watch.snapshot();
    let tables = watch.probes.tables();
    places as usize - tables.cgroups - tables.waiting
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
        until_there_are_places(&watch, places, 20);
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
    let used = watch.until_counted("the last answer is counted", server.pod.id, |snapshot| {
        let used = snapshot.since(&before);
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

#[test]
fn what_children_of_a_pod_counted_stays_with_it_though_their_places_go_to_others() {
    let _turn = turn();
    let places = cgroups_of_the_machine() + 120;
    let Some(watch) = Watch::start(&Config {
        cgroups: Some(places),
        ..Config::default()
    }) else {
        return;
    };
    let pod = Pod::new("parent");
    let family = Arc::new(Mutex::new(BTreeSet::from([pod.id])));
    let (known, heir) = (Arc::clone(&family), pod.id);
    watch.probes.set_heirs(move |ids| {
        let known = known.lock().unwrap();
        ids.iter()
            .map(|id| known.contains(id).then_some(heir))
            .collect()
    });
    let wire = Wire::new();
    let short_life = wire.left.command(&["bash", "-c", SHORT]);
    let short_life: Vec<_> = short_life.iter().map(AsRef::as_ref).collect();
    let born = |name: &str| {
        let child = pod.below(name);
        family.lock().unwrap().insert(child.id);
        child
    };
    // One that was there before, and goes on after the first reading.
    let elder = born("elder");
    assert_eq!(elder.start(&short_life).line(), "x");
    let accounts = Accounts::now();
    let (before, accounted_before) = (watch.snapshot(), elder.accounted_ns());
    assert!(before.cgroups[&elder.id].tx_packets > 0);
    assert_eq!(elder.start(&short_life).line(), "x");
    let mut accounted = elder.accounted_ns() - accounted_before;
    drop(elder);
    const ROUNDS: u64 = 40;
    for round in 0..ROUNDS {
        until_there_are_places(&watch, places, 20);
        let children: Vec<Pod> = (0..10)
            .map(|child| born(&format!("{round}-{child}")))
            .collect();
        let mut programs: Vec<_> = children
            .iter()
            .map(|child| child.start(&short_life))
            .collect();
        for program in &mut programs {
            assert_eq!(program.line(), "x");
        }
        drop(programs);
        watch.snapshot();
        accounted += children.iter().map(Pod::accounted_ns).sum::<u64>();
    }
    let used = watch.snapshot().since(&before);
    let lacking = accounts.lack_ns(&used);

    // Most of them are no longer listed.
    let family = family.lock().unwrap();
    let listed = family.iter().filter(|id| used.cgroups.contains_key(id));
    assert!(listed.count() < family.len() / 2);
    let of_all = used.sum(&*family).unwrap();
    assert_eq!(of_all.tx_packets, 10 * ROUNDS + 1);
    // What it takes from a wake-up to its switch the account may have of the task before, or lack (docs/measurements.md, "CPU time by the
    // probes and by the kernel"); what the gone ones ran is more than half of it all.
    let counted = of_all.on_cpu_ns;
    let short = of_all
        .wait
        .buckets()
        .filter(|(_, high, _)| *high <= 100_000);
    let more = if counted > accounted {
        lacking
    } else {
        short.map(|(_, high, count)| high * count).sum()
    };
    assert!(
        counted.abs_diff(accounted) <= accounted / 20 + 5_000_000 + more,
        "{counted} ns by the probes, {accounted} ns by the kernel, which may be {more} ns off"
    );
    // Whom they waited for is their waits' part for others, but for those who are gone themselves.
    let waited: u64 = used
        .blames
        .iter()
        .filter(|(blame, _)| family.contains(&blame.victim))
        .map(|(_, ns)| ns)
        .sum();
    assert!(
        waited > 0 && waited <= of_all.wait_other_ns + 20_000_000 + reading_ns(&used),
        "{waited} ns, {of_all:?}"
    );
}

/// So many threads that sleep until they are told to go on, once for each line; says so when all have run.
const CROWD: &str = "
import sys, threading
count = int(sys.argv[1])
threading.stack_size(65536)
go, done = threading.Barrier(count + 1), threading.Barrier(count + 1)
def live():
    while True:
        go.wait()
        done.wait()
for _ in range(count):
    threading.Thread(target=live, daemon=True).start()
print('ready')
for _ in sys.stdin:
    go.wait()
    done.wait()
    print('done')
";

#[test]
fn every_task_of_a_crowd_is_followed_and_those_that_find_no_place_are_counted() {
    let _turn = turn();
    let pod = Pod::new("crowd");
    const COUNT: u64 = 5_000;
    let mut crowd = pod.python(CROWD, &[&COUNT.to_string()]);
    assert_eq!(crowd.line(), "ready");
    let mut full = |tasks: Option<u32>| {
        let watch = Watch::start(&Config {
            tasks,
            ..Config::default()
        })?;
        // Each has run once, so its cgroup is known.
        crowd.ask("once");
        let before = watch.snapshot();
        crowd.ask("again");
        let used = watch.snapshot().since(&before);
        let stats = &used.cgroups[&pod.id];
        Some((used.machine[&Ledger::TasksFull], stats.wait.count()))
    };
    let Some((missed, waits)) = full(None) else {
        return;
    };
    assert_eq!(missed, 0);
    // Each of them slept, and was woken, at one barrier at least.
    assert!(waits >= COUNT, "{waits} waits");
    let Some((missed, waits)) = full(Some(500)) else {
        return;
    };
    // Four places each, and a power of two. A thread that has none is missed when it is woken and when it sleeps again.
    let places = 2_048;
    assert!(missed >= COUNT - places, "{missed} missed, {waits} waits");
}
