//! Prints every HTTP exchange on this machine for some seconds (default 10) and every TCP connection that ended, then what
//! was counted by cgroup.
//!
//! `cargo run -p galileo-probes --example watch -- 5`
//!
//! With an object that `cargo xtask ebpf --debug` made, the programs' messages come, too.

use std::{collections::BTreeMap, time::Duration};

use galileo_probes::{
    CgroupStats, Closure, Config, Connection, NetworkNamespace, Probes, RootTasks, cgroup, sockets,
};
use tokio::time::{Instant, timeout_at};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args()
        .nth(1)
        .map_or(Ok(10), |argument| argument.parse())?;
    tracing_subscriber::fmt()
        .with_env_filter("warn,galileo_probes=debug")
        .with_writer(std::io::stderr)
        .init();
    let mut probes = Probes::load(&Config {
        statistics: true,
        ..Config::default()
    })?;
    for capability in probes.capabilities() {
        println!(
            "{}: {}",
            capability.feature.meaning(),
            capability.off.as_deref().unwrap_or("on")
        );
    }
    let mut exchanges = probes.exchanges()?;
    let mut connections = probes.connections()?;
    let tasks = RootTasks::read()?;
    let before = probes.snapshot()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seen = 0_u64;
    let mut ended = Vec::new();
    loop {
        let batch = tokio::select! {
            batch = timeout_at(end, exchanges.next_batch()) => batch,
            batch = timeout_at(end, connections.next_batch()) => {
                let Ok(batch) = batch else { break };
                ended.extend(batch?);
                continue;
            }
        };
        let Ok(batch) = batch else { break };
        for exchange in batch? {
            seen += 1;
            if seen <= 20 {
                println!(
                    "{:?} {} → {}: {} {} {} in {} µs, {} + {:?} B, {} + {} B, id {:?}, flags {:?}",
                    exchange.role,
                    exchange.local,
                    exchange.remote,
                    exchange.method,
                    exchange.path,
                    exchange.status,
                    (exchange.end_ns - exchange.start_ns) / 1_000,
                    exchange.request_head_bytes,
                    exchange.request_body_bytes(),
                    exchange.response_head_bytes,
                    exchange.response_body_bytes(),
                    exchange.request_id,
                    exchange.flag_names().collect::<Vec<_>>(),
                );
            }
        }
    }
    let after = probes.snapshot()?;
    let of_root = RootTasks::read()?.since(&tasks);
    let used = after.since(&before);
    let window = used.end_ns - used.begin_ns;
    println!(
        "{seen} exchanges; idle {:?} of {} ms",
        used.cpus
            .iter()
            .map(|cpu| cpu.idle_ns / 1_000_000)
            .collect::<Vec<_>>(),
        window / 1_000_000
    );
    println!(
        "{:.2} % of the CPUs' time is neither a cgroup's nor idle",
        100.0 * Closure::between(&before, &after).missing()
    );
    print_busiest("kernel threads of the root cgroup", &of_root.kernel_threads);
    print_busiest("other tasks of the root cgroup", &of_root.processes);
    println!("{} TCP connections ended", ended.len());
    for connection in ended.iter().take(20) {
        print(connection);
    }
    let open = sockets::tcp(&NetworkNamespace::own()?)?;
    println!(
        "{} TCP connections and {} listeners are open in this network namespace; {} attempts were turned away",
        open.connections.len(),
        open.listeners.len(),
        open.listen_drops
    );
    let mount = cgroup::mount_point().ok_or("no cgroup2")?;
    let names = cgroup::below(&mount, &mount);
    for (id, stats) in &used.cgroups {
        println!(
            "{}: {} ms CPU, {} waits of {} ms in all ({} own, {} others, {} idle, {} unexplained), {} B in, {} B out, {} answered, {} asked",
            names.get(id).map_or("?", String::as_str),
            stats.on_cpu_ns / 1_000_000,
            stats.wait.count(),
            stats.wait.sum_ns / 1_000_000,
            stats.wait_own_ns / 1_000_000,
            stats.wait_other_ns / 1_000_000,
            stats.wait_idle_ns / 1_000_000,
            stats.wait_unexplained_ns / 1_000_000,
            stats.rx_bytes,
            stats.tx_bytes,
            stats.server.count,
            stats.client.count,
        );
        print_network(stats)?;
    }
    for (kind, count) in used.ledger.iter().filter(|(_, count)| **count > 0) {
        println!("{}: {count}", kind.as_str());
    }
    for program in &used.programs {
        let each = program.time_ns.checked_div(program.runs).unwrap_or(0);
        println!(
            "{}: {} runs, {each} ns each; the verifier walked {} instructions",
            program.name, program.runs, program.verified
        );
    }
    Ok(())
}

/// Prints the names that have the most time.
fn print_busiest(what: &str, times: &BTreeMap<String, u64>) {
    let mut busiest: Vec<_> = times.iter().filter(|(_, ns)| **ns > 0).collect();
    busiest.sort_by_key(|(_, ns)| std::cmp::Reverse(**ns));
    let all: u64 = times.values().sum();
    println!("{what}: {} ms CPU", all / 1_000_000);
    for (name, ns) in busiest.into_iter().take(5) {
        println!("    {name}: {} µs", ns / 1_000);
    }
}

fn print(connection: &Connection) {
    println!(
        "{:?} {} ↔ {}: {} after {:?}, {} B in, {} B out, round trip {:?} (at least {:?}), {} retransmissions",
        connection.origin,
        connection.local,
        connection.remote,
        connection.end.as_str(),
        connection.established().unwrap_or_default(),
        connection.bytes_received,
        connection.bytes_acked,
        connection.rtt.unwrap_or_default(),
        connection.min_rtt.unwrap_or_default(),
        connection.segments.retransmits,
    );
}

fn print_network(stats: &CgroupStats) -> Result<(), galileo_probes::Error> {
    let namespace = NetworkNamespace::own()?;
    for (interface, traffic) in &stats.interfaces {
        // By the names of this network namespace: right for what does not run in one of its own.
        let name = namespace.interface_name(*interface)?;
        println!(
            "    {}: {} B in {} packets in, {} B in {} packets out",
            name.unwrap_or_else(|| format!("interface {}", interface.0)),
            traffic.rx_bytes,
            traffic.rx_packets,
            traffic.tx_bytes,
            traffic.tx_packets,
        );
    }
    let tcp = &stats.tcp;
    if *tcp != galileo_probes::TcpStats::default() {
        println!(
            "    TCP: {} opened, {} accepted, {} failed, {} ended ({} before their time); {} of {} segments retransmitted",
            tcp.connected,
            tcp.accepted,
            tcp.failed(),
            tcp.closed,
            tcp.aborted,
            tcp.retransmits,
            tcp.data_segments,
        );
        for (low, high, count) in tcp.rtt.buckets() {
            println!(
                "    {count} with a round trip of {}–{} µs",
                low / 1_000,
                high.div_ceil(1_000)
            );
        }
    }
    Ok(())
}
