//! Loading and going.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use galileo_probes::{Config, Error, Feature, Probes, Role};
use galileo_tests::{
    flood,
    pod::Pod,
    talk::Talk,
    turn,
    wait::until,
    watch::{Watch, of_role},
};
use rustix::{
    process::{Gid, Pid, Signal, Uid, kill_process},
    thread::{set_thread_res_gid, set_thread_res_uid},
};

#[test]
fn without_permission_the_error_says_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        galileo_skips::skip("only root can become nobody");
        return;
    }
    // Of this thread only: the kernel keeps credentials by thread, and takes all capabilities with the last uid of 0.
    let error = thread::spawn(|| {
        let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        Probes::load(&Config::default()).map(drop).unwrap_err()
    })
    .join()
    .unwrap();
    assert!(matches!(error, Error::Permission { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["no permission", "root", "CAP_BPF", "setcap"] {
        assert!(text.contains(part), "{text}");
    }
}

/// Stops a process and has it go on, several times in a row, as one signal alone is not enough: aya asks the kernel twice. Then
/// leaves it a time in which all of it can be loaded. Told to end, it does not leave the process stopped.
const DISTURB: &str = "trap 'kill -CONT $1; exit' TERM; for burst in 1 2 3 4 5 6; do for signal in 1 2 3 4; do \
    kill -STOP $1 && kill -CONT $1 || exit; sleep 0.04; done; sleep $2; done";

/// Disturbs this process until it is done with that, or until this is dropped: others' tests would be disturbed as well.
struct Disturbing(Child);

impl Disturbing {
    fn start(calm: Duration) -> Self {
        let own = std::process::id().to_string();
        let shell = Command::new("sh")
            .args(["-c", DISTURB, "disturb", &own])
            .arg(calm.as_secs_f64().to_string())
            .spawn();
        Self(shell.unwrap())
    }
}

impl Drop for Disturbing {
    fn drop(&mut self) {
        // Not killed: that could be between a stop and what ends it. It is its parent's to reap, so that the id is no other's.
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

#[test]
fn a_pause_is_no_interrupts_time() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config {
        interrupts: true,
        ..Config::default()
    }) else {
        return;
    };
    // Packets all the time, so that something is under way when it begins, and when it ends.
    let flooder = Pod::new("flooder");
    let mut flooding = flooder.start(&flood::from_cpu_0_to_cpu_1());
    assert_eq!(flooding.line(), "floods");
    for _ in 0..3 {
        watch.probes.pause_feature(Feature::Interrupts);
        thread::sleep(Duration::from_millis(300));
        let (resumed, before) = (Instant::now(), watch.snapshot());
        watch.probes.resume_feature(Feature::Interrupts).unwrap();
        thread::sleep(Duration::from_millis(100));
        let seen = watch.snapshot().since(&before);
        for cpu in &seen.cpus {
            let taken = cpu.interrupts.unwrap();
            let taken = Duration::from_nanos(taken.irq_ns + taken.softirq_ns);
            assert!(taken < resumed.elapsed(), "{cpu:?}");
        }
    }
}

#[test]
fn signals_that_come_while_the_probes_are_loaded_do_not_keep_them_out() {
    let _turn = turn();
    let began = Instant::now();
    if Watch::start(&Config::default()).is_none() {
        return;
    }
    let mut disturbing = Disturbing::start(2 * began.elapsed());
    while disturbing.0.try_wait().unwrap().is_none() {
        // All features are on, or this fails.
        if Watch::start(&Config::default()).is_none() {
            return;
        }
    }
    assert!(disturbing.0.wait().unwrap().success(), "signals were sent");
}

#[test]
fn connections_older_than_the_probes_are_seen_from_their_next_message_on() {
    let _turn = turn();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    // One rests between exchanges, one is in the middle of a body.
    let (mut resting, mut busy) = (Talk::new(), Talk::new());
    for talk in [&mut resting, &mut busy] {
        talk.ask(b"GET /before HTTP/1.1\r\n\r\n");
    }
    resting.answer(answer);
    busy.answer(&answer[..answer.len() - 2]);
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    busy.answer(b"dy");
    for talk in [&mut resting, &mut busy] {
        for path in ["/one", "/two"] {
            talk.ask(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
            talk.answer(answer);
        }
        let seen = watch.wait_for(talk.port, 4);
        for role in [Role::Server, Role::Client] {
            let paths: Vec<_> = of_role(&seen, role)
                .iter()
                .map(|exchange| exchange.path.as_str())
                .collect();
            assert_eq!(paths, ["/one", "/two"], "{role:?}");
        }
    }
}

/// Ids of the eBPF programs and links that this process holds open, by their kind in fdinfo.
fn held() -> BTreeSet<(String, u32)> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        for line in text.lines() {
            if let Some((kind @ ("prog_id" | "link_id"), id)) = line.split_once(":\t") {
                held.insert((kind.to_owned(), id.trim().parse().unwrap()));
            }
        }
    }
    held
}

#[test]
fn nothing_stays_attached_when_the_probes_are_dropped() {
    let _turn = turn();
    let before = held();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let during = held();
    let mine: Vec<u32> = during
        .difference(&before)
        .filter(|(kind, _)| kind == "prog_id")
        .map(|(_, id)| *id)
        .collect();
    let loaded = || -> BTreeSet<u32> {
        aya::programs::loaded_programs()
            .filter_map(|program| program.ok().map(|program| program.id()))
            .collect()
    };
    assert_eq!(mine.len(), 19);
    assert!(mine.iter().all(|id| loaded().contains(id)));
    drop(watch);
    assert_eq!(held(), before);
    // A program that is still attached anywhere stays loaded.
    until("the kernel frees the programs", || {
        let loaded = loaded();
        mine.iter().all(|id| !loaded.contains(id)).then_some(())
    });
}

#[test]
fn a_waiting_reader_gets_what_comes() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut talk = Talk::new();
    talk.ask(b"GET /wait HTTP/1.1\r\n\r\n");
    talk.answer(b"HTTP/1.1 204 No Content\r\n\r\n");
    let port = talk.port;
    let stream = &mut watch.stream;
    watch.runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), async {
            let mut found = 0;
            while found < 2 {
                let batch = stream.next_batch().await.unwrap();
                found += batch
                    .iter()
                    .filter(|exchange| galileo_tests::watch::server_port(exchange) == port)
                    .count();
            }
        })
        .await
        .unwrap();
    });
}
