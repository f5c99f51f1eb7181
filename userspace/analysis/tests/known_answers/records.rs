//! Records made by hand, small enough that every answer can be worked out on paper.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use galileo_wire::capture::{Machine, OwnCost, PhaseWindow, Replica, Service, Usage, Workload};
use galileo_wire::{Capture, Exchange, Hop, Outcome, Phase, Role, Trace, WallClock};

pub const SECOND: u64 = 1_000_000_000;
pub const MILLISECOND: u64 = 1_000_000;

/// A run of one workload on service `web`, measured from second 10 to second 20, that nothing is wrong with.
pub fn capture() -> Capture {
    Capture {
        id: "202511250240-1a2b".into(),
        name: "by hand".into(),
        clock: WallClock {
            offset_ns: 1_764_038_400 * SECOND,
        },
        started_ns: 0,
        ended_ns: 21 * SECOND,
        partial: false,
        problems: vec![],
        seed: 7,
        file: "name: by hand\n".into(),
        command: "galileo run by-hand.yaml".into(),
        machine: Machine::default(),
        phases: vec![PhaseWindow {
            phase: Phase::Measured,
            start_ns: 10 * SECOND,
            end_ns: 20 * SECOND,
        }],
        nodes: BTreeMap::from([("a".into(), vec![0]), ("b".into(), vec![1])]),
        services: BTreeMap::from([(
            "web".into(),
            Service {
                replicas: vec![replica("web-0", "a"), replica("web-1", "b")],
            },
        )]),
        workloads: vec![Workload {
            name: "web".into(),
            service: "web".into(),
            through: "balancer".into(),
            clients: 1,
            arrival: "constant 10/s".into(),
            seed: 7,
            duration_ns: Some(10 * SECOND),
            requests: None,
            sent: None,
        }],
        interference: vec![],
        cpus: vec![],
        closure: None,
        system: None,
        accounting: None,
        asked_interrupts: false,
        losses: BTreeMap::from([("ring_full".into(), 0)]),
        noticed: BTreeMap::new(),
        not_stored: 0,
        own: OwnCost::default(),
        unseen: vec![],
    }
}

pub fn replica(name: &str, node: &str) -> Replica {
    Replica {
        name: name.into(),
        node: node.into(),
        cgroup: Some(format!("/galileo/run/{name}")),
        port: Some(8080),
        cpu_limit: None,
        usage: Some(Usage::default()),
        exchanges_by_status: None,
        exchanges_by_flag: None,
    }
}

/// A completed request, due at `created_ns`, sent `wait_ns` later and answered `service_ns` after that.
pub fn trace(number: u32, created_ns: u64, wait_ns: u64, service_ns: u64) -> Trace {
    Trace {
        request_id: format!("0123456789:{number}"),
        client: "0:web:0".into(),
        service: "web".into(),
        workload: 0,
        phase: Phase::Measured,
        created_ns,
        sent_ns: Some(created_ns + wait_ns),
        first_byte_ns: Some(created_ns + wait_ns + service_ns),
        done_ns: Some(created_ns + wait_ns + service_ns),
        outcome: Outcome::Completed,
        status: Some(200),
        server: None,
        response_bytes: 2,
    }
}

/// What the kernel saw of that request at `replica`.
pub fn exchange(number: u32, replica: &str, start_ns: u64, end_ns: u64) -> Exchange {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Exchange {
        role: Role::Server,
        service: Some("web".into()),
        replica: Some(replica.into()),
        cgroup: format!("/galileo/run/{replica}"),
        phase: Phase::Measured,
        method: "GET".into(),
        path: "/".into(),
        status: 200,
        interim: Some(0),
        local_addr: local,
        local_port: 8080,
        remote_addr: local,
        remote_port: 40_000,
        start_ns,
        request_end_ns: Some(start_ns),
        first_byte_ns: end_ns,
        end_ns,
        request_bytes: 100,
        request_head_bytes: Some(100),
        response_bytes: 100,
        response_head_bytes: Some(98),
        request_id: Some(format!("0123456789:{number}")),
        traceparent: None,
        flags: vec![],
    }
}

/// What the balancer saw of an attempt.
pub fn hop(number: u32, attempt: u32, start_ns: u64, end_ns: u64) -> Hop {
    Hop {
        request_id: Some(format!("0123456789:{number}")),
        service: "web".into(),
        replica: Some("127.0.0.1:8080".into()),
        attempt,
        start_ns,
        connect_ns: Some(start_ns),
        first_byte_ns: Some(end_ns),
        end_ns,
        status: 200,
        cause: None,
    }
}
