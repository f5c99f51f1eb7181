//! A database with runs whose figures can be worked out on paper.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use galileo_expdb::{Database, Limits, New, Record, Status};
use galileo_wire::capture::{
    Cpu, Machine, OwnCost, PhaseWindow, Replica, Service, Usage, Workload,
};
use galileo_wire::{Capture, Exchange, Outcome, Phase, Role, Trace, WallClock};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// 2025-11-25 02:40 UTC.
const CLOCK: WallClock = WallClock {
    offset_ns: 1_764_038_400 * SECOND,
};

pub fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// Ten requests of 2 ms at one a second, all seen by the kernel.
pub fn finished(path: &Path, id: &str) {
    on(async {
        let database = Database::open(path).await.unwrap();
        create(&database, id, Status::Finished).await;
        let recorder = database
            .recorder(id, CLOCK, Limits::default())
            .await
            .unwrap();
        for number in 0..10 {
            let due = (10 + number) * SECOND;
            assert!(recorder.sender().record(Record::Trace(trace(number, due))));
            assert!(
                recorder
                    .sender()
                    .record(Record::Exchange(exchange(number, due)))
            );
        }
        assert_eq!(recorder.finish().await.dropped(), 0);
        database.put_metadata(id, &capture(id)).await.unwrap();
        database.close().await;
    });
}

/// An experiment of this status without records.
pub fn without_results(path: &Path, id: &str, status: Status) {
    on(async {
        let database = Database::open(path).await.unwrap();
        create(&database, id, status).await;
        database.close().await;
    });
}

/// Many experiments.
pub fn many(path: &Path, count: usize) {
    on(async {
        let database = Database::open(path).await.unwrap();
        for number in 0..count {
            create(
                &database,
                &format!("202511250240-{number:04x}"),
                Status::Finished,
            )
            .await;
        }
        database.close().await;
    });
}

async fn create(database: &Database, id: &str, status: Status) {
    let new = New {
        id: id.to_owned(),
        name: "by hand".to_owned(),
        creator: "tester".to_owned(),
        created_ns: SECOND,
        clock: CLOCK,
    };
    database.create_experiment(&new).await.unwrap();
    database.set_running(id, 2 * SECOND).await.unwrap();
    if status != Status::Running {
        database.finish(id, status, 21 * SECOND).await.unwrap();
    }
}

fn capture(id: &str) -> Capture {
    Capture {
        id: id.to_owned(),
        name: "by hand".to_owned(),
        clock: CLOCK,
        started_ns: 2 * SECOND,
        ended_ns: 21 * SECOND,
        partial: false,
        problems: vec![],
        seed: 7,
        file: "name: by hand\n".to_owned(),
        command: "galileo run by-hand.yaml".to_owned(),
        machine: Machine::default(),
        phases: vec![PhaseWindow {
            phase: Phase::Measured,
            start_ns: 10 * SECOND,
            end_ns: 20 * SECOND,
        }],
        nodes: BTreeMap::from([("a".to_owned(), vec![0])]),
        services: BTreeMap::from([(
            "web".to_owned(),
            Service {
                replicas: vec![Replica {
                    name: "web-0".to_owned(),
                    node: "a".to_owned(),
                    cgroup: Some("/galileo/run/web-0".to_owned()),
                    port: Some(8080),
                    cpu_limit: None,
                    usage: Some(Usage {
                        cpu_ns: 10 * MILLISECOND,
                        exchanges: Some(10),
                        ..Usage::default()
                    }),
                    exchanges_by_status: None,
                    exchanges_by_flag: None,
                }],
            },
        )]),
        workloads: vec![Workload {
            name: "web".to_owned(),
            service: "web".to_owned(),
            through: "direct".to_owned(),
            clients: 1,
            arrival: "constant 1/s".to_owned(),
            seed: 7,
            duration_ns: Some(10 * SECOND),
            requests: None,
            sent: None,
        }],
        interference: vec![],
        closure: None,
        system: None,
        accounting: None,
        asked_interrupts: false,
        cpus: vec![Cpu {
            cpu: 0,
            steal_ns: Some(0),
            ..Cpu::default()
        }],
        losses: BTreeMap::from([("ring_full".to_owned(), 0)]),
        noticed: BTreeMap::new(),
        not_stored: 0,
        own: OwnCost::default(),
        unseen: vec![],
    }
}

fn trace(number: u64, due: u64) -> Trace {
    Trace {
        request_id: format!("0123456789:{number}"),
        client: "0:web:0".to_owned(),
        service: "web".to_owned(),
        workload: 0,
        phase: Phase::Measured,
        created_ns: due,
        sent_ns: Some(due),
        first_byte_ns: Some(due + 2 * MILLISECOND),
        done_ns: Some(due + 2 * MILLISECOND),
        outcome: Outcome::Completed,
        status: Some(200),
        server: None,
        response_bytes: 2,
    }
}

fn exchange(number: u64, due: u64) -> Exchange {
    Exchange {
        role: Role::Server,
        service: Some("web".to_owned()),
        replica: Some("web-0".to_owned()),
        cgroup: "/galileo/run/web-0".to_owned(),
        phase: Phase::Measured,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        status: 200,
        interim: Some(0),
        local_addr: "127.0.0.1".parse().unwrap(),
        local_port: 8080,
        remote_addr: "127.0.0.1".parse().unwrap(),
        remote_port: 40_000,
        start_ns: due + MILLISECOND / 2,
        request_end_ns: Some(due + MILLISECOND / 2),
        first_byte_ns: due + MILLISECOND,
        end_ns: due + MILLISECOND,
        request_bytes: 100,
        request_head_bytes: Some(100),
        response_bytes: 100,
        response_head_bytes: Some(98),
        request_id: Some(format!("0123456789:{number}")),
        traceparent: None,
        flags: vec![],
    }
}
