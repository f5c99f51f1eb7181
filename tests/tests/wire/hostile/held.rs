//! As many connections as a peer can hold open.

use std::fs;

use galileo_probes::Ledger;
use galileo_tests::{
    maps,
    pod::{Pod, Process},
    turn,
};
use rustix::process::{Resource, getrlimit};

use super::{Taken, scene::Scene};

/// What is held, where the machine has room for it.
const CONNECTIONS: u64 = 100_000;
/// What the kernel and the peer take of one at most, both ends on this machine.
const CONNECTION_BYTES: u64 = 24 << 10;
/// Most that one process holds, and that all of them open at once.
const EACH: u64 = 9_000;
const AT_ONCE: u64 = 900;

/// Opens as many connections to itself as told, each with a request that is not answered, or resets them all; says how many it
/// holds. Ports are many for each address.
const HOLDER: &str = r#"
import resource, socket, struct, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.create_server(("127.0.0.1", 0))
own = int(sys.argv[1])
held = []
for line in sys.stdin:
    for _ in range(int(line)):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((f"127.1.{own}.{1 + len(held) // 500}", 0))
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        client.sendall(b"GET /held HTTP/1.1\r\n\r\n")
        held.append((client, server))
    if int(line) == 0:
        for client, server in held:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            server.close()
        held.clear()
    print(len(held))
"#;

/// Free memory of the machine.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc is mounted");
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.expect("a number of kilobytes") << 10
}

/// How many connections each of how many processes holds: all there shall be, if that takes less than half of the memory that is free.
fn shares() -> (u64, u64) {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let each = EACH.min(files.saturating_sub(100) / 2);
    let all = CONNECTIONS.min(available() / 2 / CONNECTION_BYTES);
    let processes = all.div_ceil(each);
    (processes, all.div_ceil(processes))
}

/// All of them open so many more at once, or none.
fn open(holders: &mut [Process], more: u64) -> u64 {
    for holder in &mut *holders {
        holder.say(&more.to_string());
    }
    let held = holders.iter_mut().map(Process::line);
    held.map(|held| held.parse::<u64>().expect("a number"))
        .sum()
}

/// How many other probes keep something of every socket.
fn other_probes(own: usize) -> u64 {
    let maps = aya::maps::loaded_maps().flatten();
    let sockets = maps.filter(|map| map.name_as_str() == Some("SOCKETS"));
    (sockets.count() - own) as u64
}

/// What a socket takes of memory that is charged without the probes, with as many others as there are.
fn bare() -> (u64, u64) {
    const SOME: u64 = 5_000;
    let pod = Pod::new("bare");
    let mut holders = [pod.python(HOLDER, &["0"])];
    open(&mut holders, 1);
    let others = other_probes(0);
    let before = maps::settled_charged_bytes();
    assert_eq!(open(&mut holders, SOME), SOME + 1);
    let charged = maps::settled_charged_bytes().saturating_sub(before);
    (charged / (2 * SOME), others.max(other_probes(0)))
}

#[test]
fn a_hundred_thousand_open_connections_take_what_is_said_of_each_socket_and_harm_no_other() {
    let _turn = turn();
    let (bare, others_before) = bare();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (processes, each) = shares();
    let connections = processes * each;
    println!("{processes} processes hold {each} connections each");
    let pod = Pod::inside(scene.folder(), "holders");
    let start = |number: u64| pod.python(HOLDER, &[&number.to_string()]);
    let mut holders: Vec<_> = (1..=processes).map(start).collect();
    open(&mut holders, 1);
    // What the sockets of `bare` had is to be free by now.
    let _ = maps::settled_charged_bytes();
    let before = Taken::now(&mut scene);
    let others = other_probes(1);
    let mut held = processes;
    while held < connections {
        let more = AT_ONCE.min(each - held / processes);
        scene.exchange(|_| held = open(&mut holders, more));
    }
    assert_eq!(held, connections);
    // All of them are open.
    before.check(&mut scene, 2 * connections);
    let charged = maps::charged_bytes() - before.charged_bytes;
    let with = charged / (2 * (connections - processes));
    let said = scene.watch.probes.memory().per_socket_bytes as u64;
    let others = others.max(other_probes(1));
    println!(
        "a socket takes {bare} B beside {others_before} other probes, and {with} B with these and {others} others; {said} B are said"
    );
    assert!(with <= bare + (1 + others) * said * 11 / 10);
    assert!(with + others_before * said * 11 / 10 >= bare + said * 9 / 10);
    scene.pipelined(3, |_| assert_eq!(open(&mut holders, 0), 0));
    before.check(&mut scene, 0);
    let since = scene.check();
    // As both ends saw.
    let ledger = &since.ledger;
    assert_eq!(ledger[&Ledger::ClosedWithoutAnswer], 2 * connections);
    let lost: Vec<_> = ledger
        .iter()
        .filter(|(kind, count)| kind.is_loss() && **count > 0)
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}
