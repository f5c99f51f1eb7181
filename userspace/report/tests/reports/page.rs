//! The page.

use galileo_analysis::RunResult;
use galileo_report::html::{RESULT_ELEMENT, page};
use galileo_report::terminal::summary;

use crate::fixture::{Run, noisy_neighbour};

fn shown(run: &Run) -> String {
    let (result, insight) = run.analysed();
    page(&result, &insight, &run.capture, &run.samples)
}

/// What a browser hands to a script as the text of the element with the results.
fn embedded(page: &str) -> &str {
    let (_, from) = page
        .split_once(&format!(
            "<script type=\"application/json\" id=\"{RESULT_ELEMENT}\">"
        ))
        .unwrap();
    from.split_once("</script").unwrap().0
}

/// Leaves the page where a browser can open it, for a look.
fn leave(name: &str, page: &str) {
    std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
        page,
    )
    .unwrap();
}

#[test]
fn every_question_is_answered_before_its_chart_and_table() {
    let page = shown(&noisy_neighbour());
    leave("report.html", &page);
    let sections: Vec<&str> = page.split("<section id=\"question-").skip(1).collect();
    assert_eq!(sections.len(), 4);
    for section in sections {
        let answer = section.find("class=\"answer\"").unwrap();
        let chart = section.find("<svg").unwrap();
        let table = section.find("<table").unwrap();
        assert!(answer < chart && chart < table, "{section}");
    }
}

#[test]
fn the_page_tells_what_took_the_cpus_in_the_summarys_words() {
    let mut run = noisy_neighbour();
    let told = |page: &str| {
        let meaning = page.split("<p class=\"note\">").nth(1).unwrap();
        let cells = page.matches(">not measured<").count();
        (cells, meaning.split_once("</p>").unwrap().0.to_owned())
    };
    let (cells, meaning) = told(&shown(&run));
    assert_eq!(cells, 4, "interrupts and softirqs of two CPUs");
    assert!(meaning.starts_with("Interrupts and softirqs were not measured: "));
    for cpu in &mut run.capture.cpus {
        (cpu.irq_ns, cpu.softirq_ns) = (Some(0), Some(0));
    }
    let (cells, meaning) = told(&shown(&run));
    assert_eq!(cells, 0);
    assert!(meaning.starts_with("Interrupts are without the local timer's"));
}

#[test]
fn what_watching_cost_is_told_by_program_and_by_map() {
    let page = shown(&noisy_neighbour());
    let (_, cost) = page.split_once("<section id=\"cost\">").unwrap();
    let (cost, _) = cost.split_once("</section>").unwrap();
    for row in [
        "<th scope=\"row\">sched_switch</th><td class=\"figure\">402,340</td><td class=\"figure\">0.160</td>",
        "<th scope=\"row\">http</th><td class=\"figure\">11.6\u{a0}MB</td>",
    ] {
        assert!(cost.contains(row), "{cost}");
    }
    assert!(cost.contains("Memory at the end: 31.4\u{a0}MB of Galileo's process"));
}

#[test]
fn whose_limit_is_not_known_is_told_on_page_and_summary() {
    let mut run = noisy_neighbour();
    assert!(!shown(&run).contains("limit not known"));
    let galileo = run.capture.interference.iter_mut();
    for pair in galileo.filter(|pair| pair.victim == "galileo") {
        pair.limit_known = Some(false);
    }
    let sentence = "Limit not known: whether a CPU limit held galileo could not be read, so some of what they waited for others \
                    may be their limit's.";
    let page = shown(&run);
    assert!(page.contains(sentence), "{page}");
    assert!(page.contains("galileo (limit not known)"));
    let (result, insight) = run.analysed();
    let summary = summary(&result, &insight, &run.capture, 80, false);
    let flowing = summary.replace('\n', " ");
    assert!(flowing.contains(sentence), "{summary}");
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let page = shown(&noisy_neighbour());
    for loader in [
        "src=", "url(", "@import", "http://", "https://", "<script>", "<iframe", "onload",
    ] {
        assert!(!page.contains(loader), "{loader}");
    }
    assert_eq!(
        page.matches("href=").count(),
        1,
        "the icon, which is empty data"
    );
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn what_came_from_outside_is_data_never_markup() {
    // D-41, with its exact strings: an experiment's name, a label, a path.
    let name = "x</script><img src=q onerror=alert(1)><!--";
    let path = "/a?b=<svg/onload=1>&c=\"'";
    let mut run = noisy_neighbour();
    run.capture.name = name.into();
    run.capture.file = format!("{name}\n{path}");
    run.capture.command = name.into();
    run.capture.machine.hostname = name.into();
    run.capture.problems = vec![name.into(), path.into()];
    run.capture.unseen = vec![path.into()];
    run.capture.losses.insert(name.into(), 1);
    run.capture.interference[0].victim = name.into();
    run.capture.interference[0].aggressor = path.into();
    run.capture.workloads[0].name = name.into();
    run.capture.workloads[0].arrival = path.into();
    let mut web = run.capture.services.remove("web").unwrap();
    web.replicas[0].node = name.into();
    web.replicas[1].name = path.into();
    run.capture.services.insert(name.into(), web);
    run.samples[1].subsystem = path.into();
    run.samples[6].subsystem = path.into();

    let page = shown(&run);
    leave("from-outside.html", &page);

    assert_eq!(
        page.matches("</script").count(),
        1,
        "only the tag of the results ends a script"
    );
    assert_eq!(page.matches("<script").count(), 1);
    for markup in ["<img", "<!--", "<svg/onload"] {
        assert!(!page.contains(markup), "{markup}");
    }
    let parsed: RunResult = serde_json::from_str(embedded(&page)).unwrap();
    assert_eq!(parsed.experiment.name, name);
    assert!(parsed.invalid_reasons.contains(&path.to_owned()));
    assert_eq!(parsed.services.keys().next_back().unwrap(), name);
    assert_eq!(parsed.services[name].replicas[1].name, path);
    assert_eq!(
        (
            parsed.interference[0].victim.as_str(),
            parsed.interference[0].aggressor.as_str()
        ),
        (name, path)
    );
    assert_eq!(parsed.losses[name], 1);
}

#[test]
fn a_run_of_which_nothing_could_be_seen_has_a_page_too() {
    let mut run = noisy_neighbour();
    run.capture.phases.clear();
    run.capture.workloads.clear();
    run.capture.interference.clear();
    for service in run.capture.services.values_mut() {
        service
            .replicas
            .iter_mut()
            .for_each(|replica| replica.usage = None);
    }
    run.traces.clear();
    run.samples.clear();
    run.capture.unseen = vec!["CPU, waits, HTTP: the probes need CAP_BPF.".into()];
    let page = shown(&run);
    leave("nothing-seen.html", &page);
    assert!(page.contains("The measured phase never began."));
    assert!(!page.contains("<svg") && !page.contains("NaN"));
}

#[test]
fn no_coordinate_is_lost_to_arithmetic() {
    let page = shown(&noisy_neighbour());
    assert!(
        !page.contains("NaN") && !page.contains("inf\""),
        "a division by nothing"
    );
}
