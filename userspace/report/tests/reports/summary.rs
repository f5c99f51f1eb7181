//! The summary in the terminal.

use galileo_report::terminal::summary;
use galileo_wire::{Capture, capture::Cpu};

use crate::fixture::{Run, noisy_neighbour};

fn shown(run: &Run, width: usize, colour: bool) -> String {
    let (result, insight) = run.analysed();
    summary(&result, &insight, &run.capture, width, colour)
}

#[test]
fn a_good_run_is_summed_up() {
    insta::assert_snapshot!(shown(&noisy_neighbour(), 80, false));
}

#[test]
fn a_bad_run_says_so_first() {
    let mut run = noisy_neighbour();
    run.capture.partial = true;
    run.capture.problems = vec![
        "web-1 ended with status 137 (killed: out of memory) 12.3 s into the measured phase."
            .into(),
    ];
    run.capture
        .losses
        .insert("exchange_ring_full".into(), 1_204);
    run.capture.unseen =
        vec!["HTTP: cgroup_skb programs need CAP_BPF; run `galileo check`.".into()];
    run.exchanges.truncate(100);
    for service in ["web", "api"] {
        for replica in &mut run.capture.services.get_mut(service).unwrap().replicas {
            replica.usage = None;
        }
    }
    let batch = &mut run.capture.services.get_mut("batch").unwrap().replicas[0];
    batch.usage.as_mut().unwrap().cpu_ns -= 400_000_000;
    run.capture.interference.clear();
    run.capture.own.probe_runs = None;
    insta::assert_snapshot!(shown(&run, 80, false));
}

#[test]
fn an_observing_run_has_no_load_to_report() {
    let mut run = noisy_neighbour();
    run.capture.workloads.clear();
    run.traces.clear();
    run.hops.clear();
    insta::assert_snapshot!(shown(&run, 80, false));
}

#[test]
fn errors_that_an_observed_service_answered_are_told() {
    let mut run = noisy_neighbour();
    run.capture.workloads.clear();
    run.traces.clear();
    let errors = |run: &Run| {
        let text = shown(run, 80, false).replace('\n', " ");
        let (before, _) = text.split_once(" answers were errors")?;
        Some(before.rsplit(". ").next().unwrap().trim().to_owned())
    };
    let by_status = |run: &mut Run, replica: usize, statuses: &[(u16, u64)]| {
        let web = run.capture.services.get_mut("web").unwrap();
        web.replicas[replica].exchanges_by_status = Some(statuses.iter().copied().collect());
    };
    by_status(&mut run, 0, &[(200, 1_000), (304, 5)]);
    assert_eq!(errors(&run), None);
    by_status(&mut run, 1, &[(200, 1_000), (404, 3), (500, 1)]);
    assert_eq!(errors(&run).unwrap(), "4 of 2,009");
    assert!(
        shown(&run, 80, false)
            .replace('\n', " ")
            .contains("3 with 404 and 1 with 500")
    );
}

#[test]
fn what_is_not_certain_of_requests_is_told() {
    let mut run = noisy_neighbour();
    let flagged = |run: &Run| {
        let text = shown(run, 80, false).replace('\n', " ");
        let (_, from) = text.split_once("Not plain or not certain")?;
        Some(from.split_once(" 3  How").unwrap().0.trim().to_owned())
    };
    assert_eq!(flagged(&run), None, "none has a flag");
    let web = run.capture.services.get_mut("web").unwrap();
    web.replicas[0].exchanges_by_flag = None;
    web.replicas[1].exchanges_by_flag =
        Some([("cut_off".to_owned(), 1), ("resumed".to_owned(), 1_204)].into());
    let told = " of what the kernel saw of requests (docs/exchanges.md tells what each means): 1 cut_off and 1,204 resumed of \
                web-1.";
    assert_eq!(flagged(&run).unwrap(), told.trim());
    run.exchanges[0].flags = vec!["resumed".into()];
    let joined = flagged(&run).unwrap();
    assert!(
        joined.contains("web-1. 1 completed requests match one that is resumed"),
        "{joined}"
    );
    let (result, insight) = run.analysed();
    let page = galileo_report::html::page(&result, &insight, &run.capture, &[]);
    assert!(page.contains("1 cut_off and 1,204 resumed of web-1. 1 completed"));
}

#[test]
fn what_was_noticed_and_is_no_loss_is_told_and_switches_that_the_kernel_hid_with_the_times_they_touch()
 {
    let mut run = noisy_neighbour();
    let kinds = [
        ("exchanges_seen", 5_907),
        ("joined_late", 0),
        ("not_http", 2),
        ("wait_unassigned", 31),
    ];
    run.capture.noticed = kinds.map(|(kind, count)| (kind.to_owned(), count)).into();
    let text = shown(&run, 80, false).replace('\n', " ");
    let told = "Noticed besides, and no loss: 2 not_http and 31 wait_unassigned (docs/losses.md";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("Switches that the kernel hid"));

    run.capture.noticed.insert("switch_unseen".to_owned(), 7);
    let text = shown(&run, 80, false).replace('\n', " ");
    let (first_answer, _) = text.split_once(" 2  How long").unwrap();
    let (_, hidden) = first_answer
        .split_once("Switches that the kernel hid ")
        .unwrap();
    assert!(hidden.starts_with("(switch_unseen): 7 at least"));
    assert!(hidden.contains("(wait_unassigned): 31."), "{hidden}");
    let (result, insight) = run.analysed();
    let page = galileo_report::html::page(&result, &insight, &run.capture, &[]);
    assert!(page.contains("Switches that the kernel hid (switch_unseen): 7 at least"));
    assert!(page.contains("no loss: 2 not_http, 7 switch_unseen and 31 wait_unassigned"));
}

/// What is behind the last answer.
fn neighbours(run: &Run) -> String {
    let text = shown(run, 80, false);
    let from = text
        .find("What each CPU did")
        .or(text.find("What interrupts"));
    let (part, _) = text[from.unwrap()..].split_once("\n\n").unwrap();
    part.to_owned()
}

#[test]
fn interrupts_that_took_nothing_are_told_from_those_that_were_not_measured() {
    let mut run = noisy_neighbour();
    insta::assert_snapshot!(neighbours(&run));
    for cpu in &mut run.capture.cpus {
        cpu.irq_ns = Some(0);
        cpu.softirq_ns = Some(u64::from(cpu.cpu) * 1_204_000_000);
    }
    insta::assert_snapshot!(neighbours(&run));
}

#[test]
fn why_interrupts_were_not_measured_fits_how_the_run_was_made() {
    let why = |run: &Run| {
        let text = neighbours(run).replace('\n', " ");
        let (_, text) = text
            .split_once("Interrupts and softirqs were not measured: ")
            .unwrap();
        text.split_once(". ").unwrap().0.to_owned()
    };
    let mut run = noisy_neighbour();
    let in_file = "'telemetry: {interrupts: true}' in the experiment file asks for them";
    assert_eq!(why(&run), in_file);
    run.capture.file.clear();
    assert_eq!(why(&run), "'galileo record --interrupts' asks for them");
    run.capture.asked_interrupts = true;
    let asked = "they were asked for, and why they are not seen is told at the top";
    assert_eq!(why(&run), asked);

    let mut run = noisy_neighbour();
    for cpu in &mut run.capture.cpus {
        (cpu.watched_ns, cpu.idle_ns, cpu.unassigned_ns) = (None, None, None);
    }
    let replicas = run.capture.services.values_mut();
    for replica in replicas.flat_map(|service| &mut service.replicas) {
        replica.usage = None;
    }
    assert_eq!(why(&run), "no probes watched");
}

#[test]
fn steal_that_nobody_tells_and_time_that_is_nobodys_are_told() {
    let mut run = noisy_neighbour();
    for cpu in &mut run.capture.cpus {
        cpu.steal_ns = None;
        cpu.unassigned_ns = Some(u64::from(cpu.cpu) * 250_000_000);
    }
    insta::assert_snapshot!(neighbours(&run));
}

#[test]
fn of_many_cpus_those_are_listed_of_which_most_was_taken() {
    let mut run = noisy_neighbour();
    let of_number = |cpu: u32| Cpu {
        cpu,
        idle_ns: Some(u64::from(99 - cpu) * 100_000_000),
        steal_ns: Some(if cpu == 7 { 20_000_000 } else { 0 }),
        softirq_ns: Some(if cpu == 17 { 500_000_000 } else { 0 }),
        irq_ns: Some(0),
        ..run.capture.cpus[0]
    };
    run.capture.cpus = (0..18).map(of_number).collect();
    insta::assert_snapshot!(neighbours(&run));
}

#[test]
fn what_was_not_measured_of_any_cpu_is_told_once() {
    let mut run = noisy_neighbour();
    run.capture.cpus.clear();
    insta::assert_snapshot!(neighbours(&run), @"What interrupts, softirqs and steal took of the CPUs was not measured.");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let short = noisy_neighbour();
    let mut long = noisy_neighbour();
    let name = "recommendation-service-with-a-name-as-kubernetes-gives-them-7d9f8b6c5-x2x9z";
    for replica in long
        .capture
        .services
        .values_mut()
        .flat_map(|service| &mut service.replicas)
    {
        replica.name = format!("{name}-{}", replica.name);
        replica.node = format!("gke-pool-of-large-machines-{}", replica.node);
    }
    for workload in &mut long.capture.workloads {
        workload.name = format!("{name}#{}", workload.service);
    }
    for pair in &mut long.capture.interference {
        pair.aggressor = format!(
            "/kubepods.slice/kubepods-burstable.slice/{}",
            pair.aggressor
        );
    }
    for (run, width) in [(&short, 80), (&short, 120), (&long, 80), (&long, 100)] {
        for line in shown(run, width, false).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn colours_come_only_if_wanted_and_change_no_word() {
    let run = noisy_neighbour();
    let plain = shown(&run, 80, false);
    let coloured = shown(&run, 80, true);
    assert!(!plain.contains('\x1b'));
    let mut stripped = String::new();
    for (index, part) in coloured.split('\x1b').enumerate() {
        stripped.push_str(if index == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        });
    }
    // An underlined head keeps the spaces at its end.
    let trimmed = |text: &str| {
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(trimmed(&stripped), trimmed(&plain));
}

#[test]
fn names_from_outside_cannot_command_the_terminal() {
    let mut run = noisy_neighbour();
    run.capture = Capture {
        name: "x\x1b]0;owned\x07".into(),
        unseen: vec!["\x1b[2J".into()],
        ..run.capture
    };
    run.capture.interference[0].aggressor = "/kubepods/\x1b[31m".into();
    assert!(!shown(&run, 80, false).contains(['\x1b', '\x07']));
}
