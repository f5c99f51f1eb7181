//! A made-up run for tests: services `web` and `api` with a replica on each of two nodes, and on node b a batch job that
//! takes the CPU from them. The times come from a queue of one server per replica, the dice from a fixed seed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use galileo_analysis::{Insight, RunResult, analyse, insight};
use galileo_wire::capture::{
    Accounting, Bounds, Closed, Closure, Cpu, Interface, Interference, KernelMemory, Machine,
    OwnCost, PhaseWindow, ProgramCost, Replica, Service, System, SystemTask, TakenOff, Tcp, Usage,
    WaitBounds, Waits, Workload,
};
use galileo_wire::histogram::Bucket;
use galileo_wire::{
    Capture, Exchange, FailureKind, Histogram, Hop, Outcome, Phase, Role, Sample, Trace, WallClock,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const MICROSECOND: u64 = 1_000;
const BEGIN: u64 = 4 * SECOND;
const END: u64 = 24 * SECOND;

/// All that a report is made from.
pub struct Run {
    pub capture: Capture,
    pub traces: Vec<Trace>,
    pub hops: Vec<Hop>,
    pub exchanges: Vec<Exchange>,
    pub samples: Vec<Sample>,
}

impl Run {
    pub fn analysed(&self) -> (RunResult, Insight) {
        let result = analyse(&self.capture, &self.traces, &self.hops, &self.exchanges);
        let beside = insight(&self.capture, &self.traces, &self.hops, &self.exchanges);
        (result, beside)
    }
}

/// A linear congruential generator (Knuth's MMIX constants): the same dice everywhere.
struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean_ns: u64) -> u64 {
        (-self.uniform().ln() * mean_ns as f64) as u64
    }
}

#[derive(Default)]
struct Used {
    free_ns: u64,
    cpu_ns: u64,
    service_ns: Vec<u64>,
    waits_ns: Vec<u64>,
    others_ns: u64,
}

/// The whole run.
pub fn noisy_neighbour() -> Run {
    let mut dice = Dice(42);
    let mut run = Run {
        capture: capture(),
        traces: vec![],
        hops: vec![],
        exchanges: vec![],
        samples: vec![],
    };
    for (index, (service, rate, work_ns)) in
        [("web", 100, 2 * MILLISECOND), ("api", 200, MILLISECOND)]
            .into_iter()
            .enumerate()
    {
        let mut used = [Used::default(), Used::default()];
        let mut due = BEGIN;
        let mut number = 0;
        loop {
            due += dice.exponential(SECOND / rate);
            if due >= END {
                break;
            }
            number += 1;
            request(
                &mut run,
                &mut dice,
                (index as u32, service, number),
                due,
                work_ns,
                &mut used,
            );
        }
        let replicas = &mut run.capture.services.get_mut(service).unwrap().replicas;
        for (replica, used) in replicas.iter_mut().zip(used) {
            replica.usage = Some(usage(&used));
        }
    }
    // One request of web broke, one of api was still on its way at the end.
    break_request(&mut run, "web", Outcome::Failed(FailureKind::Reset));
    break_request(&mut run, "api", Outcome::Unfinished);
    run.samples = samples(&mut dice);
    run
}

fn break_request(run: &mut Run, service: &str, outcome: Outcome) {
    let trace = run
        .traces
        .iter_mut()
        .rfind(|trace| trace.service == service)
        .unwrap();
    trace.outcome = outcome;
    trace.status = None;
}

fn request(
    run: &mut Run,
    dice: &mut Dice,
    (workload, service, number): (u32, &str, u64),
    due: u64,
    work_ns: u64,
    used: &mut [Used; 2],
) {
    let which = (number % 2) as usize;
    let used = &mut used[which];
    let replica = format!("{service}-{which}");
    let id = format!("00000000a{workload}:{number}");
    let sent = due + 20 * MICROSECOND + dice.exponential(30 * MICROSECOND);
    let reached = sent + 60 * MICROSECOND + dice.exponential(40 * MICROSECOND);
    let start = reached + 90 * MICROSECOND + dice.exponential(60 * MICROSECOND);
    let work = work_ns / 2 + dice.exponential(work_ns / 2);
    // On node b the batch job holds the CPU in every third case, for up to a time slice of 4 ms.
    let disturbed = which == 1 && dice.uniform() < 0.35;
    let wait = if disturbed {
        (dice.uniform() * 4e6) as u64
    } else {
        dice.exponential(15 * MICROSECOND)
    };
    let end = start.max(used.free_ns) + wait + work;
    used.free_ns = end;
    let done = end + 150 * MICROSECOND + dice.exponential(60 * MICROSECOND);
    used.cpu_ns += work;
    used.waits_ns.push(wait);
    used.others_ns += if disturbed { wait } else { wait / 3 };
    used.service_ns.push(end - start);
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = 41_000 + which as u16;
    run.traces.push(Trace {
        request_id: id.clone(),
        client: format!("{workload}:{service}:{}", number % 8),
        service: service.into(),
        workload,
        phase: Phase::Measured,
        created_ns: due,
        sent_ns: Some(sent),
        first_byte_ns: Some(done - 20 * MICROSECOND),
        done_ns: Some(done),
        outcome: Outcome::Completed,
        status: Some(200),
        server: Some(format!("127.0.0.1:{port}")),
        response_bytes: 512,
    });
    run.hops.push(Hop {
        request_id: Some(id.clone()),
        service: service.into(),
        replica: Some(format!("127.0.0.1:{port}")),
        attempt: 1,
        start_ns: reached,
        connect_ns: Some(reached + 20 * MICROSECOND),
        first_byte_ns: Some(end + 40 * MICROSECOND),
        end_ns: end + 60 * MICROSECOND,
        status: 200,
        cause: None,
    });
    run.exchanges.push(Exchange {
        role: Role::Server,
        service: Some(service.into()),
        replica: Some(replica.clone()),
        cgroup: format!("/galileo/202611250240-1a2b/{replica}"),
        phase: Phase::Measured,
        method: "GET".into(),
        path: "/".into(),
        status: 200,
        interim: Some(0),
        local_addr: local,
        local_port: port,
        remote_addr: local,
        remote_port: 50_000,
        start_ns: start,
        request_end_ns: Some(start),
        first_byte_ns: end - 10 * MICROSECOND,
        end_ns: end,
        request_bytes: 220,
        request_head_bytes: Some(220),
        response_bytes: 640,
        response_head_bytes: Some(128),
        request_id: Some(id),
        traceparent: None,
        flags: vec![],
    });
}

/// Buckets of a sixteenth of a power of two, as a log-linear histogram has.
fn histogram(values: &[u64]) -> Histogram {
    let mut counts: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for value in values {
        let shift = (64 - value.leading_zeros()).saturating_sub(5);
        let low = (value >> shift) << shift;
        *counts.entry((low, low + (1 << shift) - 1)).or_default() += 1;
    }
    let buckets = counts.into_iter().map(|((low_ns, high_ns), count)| Bucket {
        low_ns,
        high_ns,
        count,
    });
    Histogram {
        buckets: buckets.collect(),
        sum_ns: values.iter().sum(),
    }
}

fn interface(number: u32, name: Option<&str>, rx_bytes: u64, tx_bytes: u64) -> Interface {
    Interface {
        number: Some(number),
        name: name.map(str::to_owned),
        loopback: number == 1,
        rx_bytes,
        rx_packets: rx_bytes.div_ceil(1_000),
        tx_bytes,
        tx_packets: tx_bytes.div_ceil(1_000),
    }
}

fn bounds(low_ns: u64, high_ns: u64) -> Bounds {
    Bounds { low_ns, high_ns }
}

fn usage(used: &Used) -> Usage {
    let waited: u64 = used.waits_ns.iter().sum();
    let own_tasks_ns = (waited - used.others_ns) * 4 / 5;
    let exchanges = used.service_ns.len() as u64;
    Usage {
        cpu_ns: used.cpu_ns,
        accounted_cpu_ns: Some(used.cpu_ns + 700 * MICROSECOND),
        apart: None,
        stolen_ns: None,
        rx_bytes: Some(exchanges * 325),
        tx_bytes: Some(exchanges * 745),
        interfaces: Some(vec![
            interface(1, Some("lo"), exchanges * 300, exchanges * 745),
            interface(2, None, exchanges * 25, 0),
        ]),
        tcp: Some(Tcp {
            opened: 1,
            accepted: exchanges,
            refused: 3,
            timed_out: 1,
            abandoned: 2,
            closed: exchanges,
            aborted: 5,
            data_segments: exchanges * 2,
            retransmits: 7,
            timeouts: 1,
            listen_drops: Some(4),
            rtt: histogram(&used.waits_ns),
            open_rtt: None,
        }),
        exchanges: Some(exchanges),
        service: Some(histogram(&used.service_ns)),
        runq_wait: Some(histogram(&used.waits_ns)),
        waits: Some(Waits {
            other_cgroups_ns: used.others_ns,
            own_tasks_ns,
            cpu_limit_ns: 0,
            unexplained_ns: waited - used.others_ns - own_tasks_ns,
            bounds: Some(WaitBounds {
                other_cgroups: bounds(used.others_ns, used.others_ns),
                cpu_limit: bounds(0, 0),
            }),
        }),
        switches_voluntary: Some(exchanges),
        switches_involuntary: Some(exchanges / 20),
    }
}

fn capture() -> Capture {
    let service = |names: &[(&str, &str)]| Service {
        replicas: names
            .iter()
            .map(|(name, node)| replica(name, node))
            .collect(),
    };
    let mut batch = service(&[("batch-0", "b")]);
    let waits_ns: Vec<u64> = (0..4_000).map(|k| (k % 9) * 100 * MICROSECOND).collect();
    let waited: u64 = waits_ns.iter().sum();
    batch.replicas[0].cpu_limit = Some(0.8);
    batch.replicas[0].usage = Some(Usage {
        cpu_ns: 15_400 * MILLISECOND,
        accounted_cpu_ns: Some(15_402 * MILLISECOND),
        apart: None,
        stolen_ns: None,
        rx_bytes: Some(0),
        tx_bytes: Some(0),
        interfaces: Some(vec![]),
        tcp: Some(Tcp::default()),
        exchanges: Some(0),
        service: Some(Histogram::default()),
        runq_wait: Some(histogram(&waits_ns)),
        waits: Some(Waits {
            other_cgroups_ns: waited / 2,
            own_tasks_ns: 0,
            cpu_limit_ns: waited - waited / 2 - waited / 20,
            unexplained_ns: waited / 20,
            bounds: Some(WaitBounds {
                other_cgroups: bounds(0, waited * 3 / 5),
                cpu_limit: bounds(waited - waited / 2 - waited / 20, waited),
            }),
        }),
        switches_voluntary: Some(2),
        switches_involuntary: Some(4_000),
    });
    let services = BTreeMap::from([
        ("web".into(), service(&[("web-0", "a"), ("web-1", "b")])),
        ("api".into(), service(&[("api-0", "a"), ("api-1", "b")])),
        ("batch".into(), batch),
    ]);
    let pair = |victim: &str, aggressor: &str, ms: u64| Interference {
        victim: victim.into(),
        aggressor: aggressor.into(),
        wait_ns: ms * MILLISECOND,
        limit_known: Some(true),
    };
    Capture {
        id: "202611250240-1a2b".into(),
        name: "noisy neighbour".into(),
        clock: WallClock {
            offset_ns: 1_795_574_400 * SECOND,
        },
        started_ns: 0,
        ended_ns: 25 * SECOND,
        partial: false,
        problems: vec![],
        seed: 1,
        file: FILE.into(),
        command: "galileo run examples/noisy-neighbour.yaml".into(),
        machine: Machine {
            hostname: "edge-07".into(),
            kernel: "6.18.5".into(),
            arch: "x86_64".into(),
            cpu_model: "Intel(R) Xeon(R) Processor @ 2.80GHz".into(),
            cpus: 2,
            memory_bytes: 8_200_000_000,
            galileo: "0.1.0 (56a5435)".into(),
        },
        phases: vec![
            PhaseWindow {
                phase: Phase::Setup,
                start_ns: 0,
                end_ns: SECOND,
            },
            PhaseWindow {
                phase: Phase::Warmup,
                start_ns: SECOND,
                end_ns: BEGIN,
            },
            PhaseWindow {
                phase: Phase::Measured,
                start_ns: BEGIN,
                end_ns: END,
            },
            PhaseWindow {
                phase: Phase::Drain,
                start_ns: END,
                end_ns: END + SECOND / 5,
            },
        ],
        nodes: BTreeMap::from([("a".into(), vec![0]), ("b".into(), vec![1])]),
        services,
        workloads: vec![
            workload("web", "poisson 100/s"),
            workload("api", "poisson 200/s"),
        ],
        interference: vec![
            pair("api/api-1", "batch/batch-0", 1_296),
            pair("web/web-1", "batch/batch-0", 634),
            pair("batch/batch-0", "web/web-1", 420),
            pair("batch/batch-0", "api/api-1", 310),
            pair("web/web-1", "api/api-1", 58),
            pair("api/api-1", "web/web-1", 74),
            pair("web/web-0", "galileo", 9),
            pair("api/api-0", "galileo", 12),
            pair("api/api-0", "web/web-0", 4),
            pair("galileo", "batch/batch-0", 88),
            pair("galileo", "web/web-0", 21),
            pair("system", "batch/batch-0", 15),
            pair("web/web-1", "system", 6),
        ],
        cpus: vec![cpu(0, 15_980), cpu(1, 460)],
        closure: Some(Closure {
            whole: closed(40_000, 23_528, 16_440),
            worst: closed(2_000, 1_162, 836),
            readings: 21,
        }),
        system: Some(system()),
        accounting: Some(Accounting {
            interrupts: taken_off(
                Some(false),
                "/proc/config.gz: CONFIG_IRQ_TIME_ACCOUNTING is not set",
            ),
            steal: taken_off(
                None,
                "the kernel's configuration is not to be found, and /proc/stat tells of steal",
            ),
        }),
        asked_interrupts: false,
        losses: [
            ("exchange_ring_full", 0),
            ("socket_storage_full", 0),
            ("trace_queue_full", 0),
        ]
        .map(|(kind, count)| (kind.to_owned(), count))
        .into(),
        noticed: BTreeMap::new(),
        not_stored: 0,
        own: OwnCost {
            cpu_ns: 2_140 * MILLISECOND,
            probe_runs: Some(812_340),
            probe_ns: Some(290 * MILLISECOND),
            programs: Some(vec![
                program("sched_switch", 402_340, 160),
                program("ingress", 200_000, 70),
                program("egress", 200_000, 55),
                program("sched_wakeup", 10_000, 5),
            ]),
            rss_bytes: Some(31_400_000),
            kernel_memory: Some(KernelMemory {
                bytes: [
                    ("cpu", 3_500_000),
                    ("http", 11_600_000),
                    ("shared", 240_000),
                ]
                .map(|(feature, bytes)| (feature.to_owned(), bytes))
                .into(),
                per_socket_bytes: 1_216,
            }),
        },
        unseen: vec![],
    }
}

fn closed(watched_ms: i64, cgroups_ms: i64, idle_ms: i64) -> Closed {
    Closed {
        watched_ns: watched_ms * 1_000_000,
        cgroups_ns: cgroups_ms * 1_000_000,
        idle_ns: idle_ms * 1_000_000,
        unassigned_ns: 0,
    }
}

fn program(name: &str, runs: u64, ms: u64) -> ProgramCost {
    ProgramCost {
        name: name.into(),
        runs,
        ns: ms * MILLISECOND,
    }
}

fn system() -> System {
    let task = |name: &str, kernel_thread, ms| SystemTask {
        name: name.into(),
        kernel_thread,
        cpu_ns: ms * MILLISECOND,
    };
    System {
        cpu_ns: 900 * MILLISECOND,
        kernel_threads_ns: 310 * MILLISECOND,
        processes_ns: 520 * MILLISECOND,
        busiest: vec![
            task("sshd", false, 500),
            task("ksoftirqd", true, 200),
            task("kworker", true, 90),
            task("cron", false, 20),
            task("rcu_preempt", true, 15),
            task("migration", true, 5),
        ],
    }
}

fn taken_off(taken_off: Option<bool>, how: &str) -> TakenOff {
    TakenOff {
        taken_off,
        how: how.into(),
    }
}

/// Its interrupts are not measured.
fn cpu(cpu: u32, idle_ms: u64) -> Cpu {
    Cpu {
        cpu,
        watched_ns: Some(END - BEGIN),
        idle_ns: Some(idle_ms * MILLISECOND),
        unassigned_ns: Some(0),
        irq_ns: None,
        softirq_ns: None,
        steal_ns: Some(30 * MILLISECOND),
    }
}

fn replica(name: &str, node: &str) -> Replica {
    Replica {
        name: name.into(),
        node: node.into(),
        cgroup: Some(format!("/galileo/202611250240-1a2b/{name}")),
        port: Some(41_000),
        cpu_limit: None,
        usage: None,
        exchanges_by_status: None,
        exchanges_by_flag: Some(BTreeMap::new()),
    }
}

fn workload(service: &str, arrival: &str) -> Workload {
    Workload {
        name: service.into(),
        service: service.into(),
        through: "balancer".into(),
        clients: 8,
        arrival: arrival.into(),
        seed: 1,
        duration_ns: Some(END - BEGIN),
        requests: None,
        sent: None,
    }
}

fn samples(dice: &mut Dice) -> Vec<Sample> {
    let means = [
        ("web-0", "a", 0.1),
        ("web-1", "b", 0.1),
        ("api-0", "a", 0.1),
        ("api-1", "b", 0.1),
        ("batch-0", "b", 0.77),
    ];
    let mut samples = Vec::new();
    for half_seconds in 1..=50 {
        for (name, node, mean) in means {
            // The batch job runs from the begin, the others while there is load.
            let idle = name != "batch-0" && !(2..=48).contains(&half_seconds);
            let value = if idle {
                0.001
            } else {
                mean * (0.8 + 0.4 * dice.uniform())
            };
            samples.push(Sample {
                at_ns: half_seconds * SECOND / 2,
                metric: "cpu_cores".into(),
                subsystem: name.into(),
                node: node.into(),
                value,
            });
        }
    }
    samples
}

const FILE: &str = "\
version: 1
name: noisy neighbour
nodes: {a: {cpus: [0]}, b: {cpus: [1]}}
services:
  web: {command: [./server, --work, 2ms], replicas: 2, node: [a, b], env: {TOKEN: '***'}}
  api: {command: [./server, --work, 1ms], replicas: 2, node: [a, b]}
  batch: {command: [./spin], node: b, limits: {cpu: 0.8}}
workloads:
  - {service: web, through: balancer, clients: 8, arrival: {poisson: 100/s}, duration: 20s, seed: 1}
  - {service: api, through: balancer, clients: 8, arrival: {poisson: 200/s}, duration: 20s, seed: 1}
warmup: 3s
";
