//! What the replicas of each service used, and what Galileo used to watch them.

use std::collections::BTreeMap;

use galileo_wire::capture::{Bounds, Interface, OwnCost, ProgramCost, Replica, Tcp, Usage, Waits};
use galileo_wire::{Capture, Histogram};

use crate::quantiles::{Quantiles, pool};
use crate::result::{
    BoundsSeconds, InterfaceResult, OwnCostResult, ProgramResult, ReplicaResult, ServiceResult,
    TcpResult, WaitBoundsSeconds, WaitsSeconds,
};
use crate::{milliseconds, seconds};

/// The figures of every service, by name.
#[must_use]
pub fn figures(capture: &Capture) -> BTreeMap<String, ServiceResult> {
    capture
        .services
        .iter()
        .map(|(name, service)| {
            (
                name.clone(),
                ServiceResult {
                    replicas: service.replicas.iter().map(replica).collect(),
                },
            )
        })
        .collect()
}

fn replica(replica: &Replica) -> ReplicaResult {
    let usage = replica.usage.as_ref();
    let exchanges = usage.and_then(|usage| usage.exchanges);
    ReplicaResult {
        name: replica.name.clone(),
        node: replica.node.clone(),
        cpu_seconds: usage.map(|usage| seconds(usage.cpu_ns)),
        cpu_ms_per_request: usage.and_then(|usage| per_request_ms(usage.cpu_ns, exchanges)),
        rx_bytes: usage.and_then(|usage| usage.rx_bytes),
        tx_bytes: usage.and_then(|usage| usage.tx_bytes),
        interfaces: usage
            .and_then(|usage| usage.interfaces.as_ref())
            .map(|interfaces| interfaces.iter().map(interface).collect()),
        tcp: usage.and_then(|usage| usage.tcp.as_ref()).map(tcp),
        exchanges,
        exchanges_by_status: replica.exchanges_by_status.clone(),
        exchanges_by_flag: replica.exchanges_by_flag.clone(),
        service_ms: usage
            .and_then(|usage| usage.service.as_ref())
            .and_then(Quantiles::of_histogram),
        runq_wait_ms: usage
            .and_then(|usage| usage.runq_wait.as_ref())
            .and_then(Quantiles::of_histogram),
        waits_seconds: usage.and_then(|usage| usage.waits).map(waits),
    }
}

fn interface(interface: &Interface) -> InterfaceResult {
    InterfaceResult {
        interface: interface.number,
        name: interface.name.clone(),
        loopback: interface.loopback,
        rx_bytes: interface.rx_bytes,
        rx_packets: interface.rx_packets,
        tx_bytes: interface.tx_bytes,
        tx_packets: interface.tx_packets,
    }
}

fn tcp(tcp: &Tcp) -> TcpResult {
    let failed = [
        ("refused", tcp.refused),
        ("timed_out", tcp.timed_out),
        ("abandoned", tcp.abandoned),
    ];
    TcpResult {
        opened: tcp.opened,
        accepted: tcp.accepted,
        failed: failed.iter().map(|(_, count)| count).sum(),
        failed_by_kind: failed.map(|(kind, count)| (kind.to_owned(), count)).into(),
        closed: tcp.closed,
        aborted: tcp.aborted,
        data_segments: tcp.data_segments,
        retransmits: tcp.retransmits,
        timeouts: tcp.timeouts,
        listen_drops: tcp.listen_drops,
        open: tcp.open_rtt.as_ref().map(Histogram::count),
        rtt_ms: Quantiles::of_histogram(&pool([&tcp.rtt].into_iter().chain(&tcp.open_rtt))),
    }
}

fn waits(waits: Waits) -> WaitsSeconds {
    let bounds = |bounds: Bounds| BoundsSeconds {
        low: seconds(bounds.low_ns),
        high: seconds(bounds.high_ns),
    };
    WaitsSeconds {
        other_cgroups: seconds(waits.other_cgroups_ns),
        own_tasks: seconds(waits.own_tasks_ns),
        cpu_limit: seconds(waits.cpu_limit_ns),
        unexplained: seconds(waits.unexplained_ns),
        bounds: waits.bounds.map(|of| WaitBoundsSeconds {
            other_cgroups: bounds(of.other_cgroups),
            cpu_limit: bounds(of.cpu_limit),
        }),
    }
}

/// A total per request in milliseconds; none without requests.
pub(crate) fn per_request_ms(total_ns: u64, exchanges: Option<u64>) -> Option<f64> {
    exchanges
        .filter(|count| *count > 0)
        .map(|count| milliseconds(total_ns) / count as f64)
}

/// The whole time waited for a CPU.
pub(crate) fn waited_ns(usage: &Usage) -> Option<u64> {
    usage.waits.map(|waits| {
        waits.other_cgroups_ns + waits.own_tasks_ns + waits.cpu_limit_ns + waits.unexplained_ns
    })
}

/// What watching cost.
#[must_use]
pub fn own_cost(own: &OwnCost) -> OwnCostResult {
    OwnCostResult {
        cpu_seconds: seconds(own.cpu_ns),
        probe_runs: own.probe_runs,
        probe_seconds: own.probe_ns.map(seconds),
        programs: own
            .programs
            .as_ref()
            .map(|programs| programs.iter().map(program).collect()),
        rss_bytes: own.rss_bytes,
        kernel_bytes: own
            .kernel_memory
            .as_ref()
            .map(|memory| memory.bytes.clone()),
        per_socket_bytes: own
            .kernel_memory
            .as_ref()
            .map(|memory| memory.per_socket_bytes),
    }
}

fn program(cost: &ProgramCost) -> ProgramResult {
    ProgramResult {
        name: cost.name.clone(),
        runs: cost.runs,
        seconds: seconds(cost.ns),
    }
}
