//! The four questions, and the sentences that answer them.

use std::collections::BTreeMap;

use galileo_analysis::breakdown::{Breakdown, Part};
use galileo_analysis::compare::{Comparison, Difference, Grouping};
use galileo_analysis::insight::{ServiceInsight, WorkloadInsight};
use galileo_analysis::result::{WaitBoundsSeconds, WorkloadResult};
use galileo_analysis::{Insight, RunResult};

use crate::numbers::{count, figure, percent, with_unit};
use crate::sentences::{list, sentence};

/// What people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Cpu,
    Time,
    Places,
    Neighbours,
}

impl Question {
    pub(crate) const ALL: [Self; 4] = [Self::Cpu, Self::Time, Self::Places, Self::Neighbours];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "How much CPU does the application use?",
            Self::Time => "How long does a request take, and where is the time spent?",
            Self::Places => "How do nodes differ that host the same service?",
            Self::Neighbours => "Who disturbs whom?",
        }
    }

    /// The answer in sentences, one for each that it is about.
    pub(crate) fn answer(self, result: &RunResult, insight: &Insight) -> Vec<String> {
        match self {
            Self::Cpu => vec![cpu(insight)],
            Self::Time => time(result, insight),
            Self::Places => places(insight),
            Self::Neighbours => vec![neighbours(result, insight)],
        }
    }
}

/// So many are told in sentences; the table has all.
const TOLD: usize = 3;

/// The name of a part in a sentence: `… passed <in the replica>`.
fn passed(part: Part, through_balancer: bool) -> &'static str {
    match part {
        Part::Client => "waiting to be sent",
        Part::ToBalancer => "on the way to the balancer",
        Part::Between if through_balancer => "in balancer and network",
        Part::Between => "in the network",
        Part::Replica => "in the replica",
    }
}

fn cpu(insight: &Insight) -> String {
    if insight.services.is_empty() {
        return "No service was watched.".to_owned();
    }
    let (mut seen, unseen): (Vec<&ServiceInsight>, Vec<&ServiceInsight>) = insight
        .services
        .iter()
        .partition(|service| service.cpu_seconds.is_some());
    seen.sort_by(|a, b| {
        b.cpu_seconds
            .unwrap_or(0.0)
            .total_cmp(&a.cpu_seconds.unwrap_or(0.0))
    });
    let (told, rest) = seen.split_at(seen.len().min(TOLD + 1));
    let mut clauses: Vec<String> = told.iter().filter_map(|service| cpu_of(service)).collect();
    if !rest.is_empty() {
        let seconds: f64 = rest.iter().filter_map(|service| service.cpu_seconds).sum();
        clauses.push(format!(
            "the other {} services used {} of CPU",
            rest.len(),
            with_unit(seconds, "s")
        ));
    }
    let mut sentences = Vec::new();
    if !clauses.is_empty() {
        sentences.push(sentence(&clauses.join("; ")));
    }
    if !unseen.is_empty() {
        let names: Vec<String> = unseen.iter().map(|service| service.name.clone()).collect();
        sentences.push(format!(
            "The CPU time of {} could not be seen.",
            list(&names)
        ));
    }
    sentences.join(" ")
}

fn cpu_of(service: &ServiceInsight) -> Option<String> {
    let name = &service.name;
    let used = match service.cpus {
        Some(cpus) => format!("{name} used {}", with_unit(cpus, "CPUs")),
        None => format!(
            "{name} used {} of CPU",
            with_unit(service.cpu_seconds?, "s")
        ),
    };
    Some(match (service.exchanges, service.cpu_ms_per_request) {
        (Some(exchanges), Some(ms)) => {
            format!(
                "{used}, {} for each of {} requests",
                with_unit(ms, "ms"),
                count(exchanges)
            )
        }
        (Some(_), None) => format!("{used} and answered no HTTP request"),
        (None, _) => format!("{used}, and its requests could not be seen"),
    })
}

fn time(result: &RunResult, insight: &Insight) -> Vec<String> {
    if insight.workloads.is_empty() {
        return std::iter::once(observed_time(insight))
            .chain(errors(result))
            .collect();
    }
    let mut sentences: Vec<String> = result
        .workloads
        .iter()
        .zip(&insight.workloads)
        .take(TOLD)
        .map(|(figures, beside)| time_of(figures, beside))
        .collect();
    if insight.workloads.len() > TOLD {
        sentences.push(format!(
            "The table has all {} workloads.",
            insight.workloads.len()
        ));
    }
    sentences
}

/// Without load of ours, the kernel's side is all there is.
fn observed_time(insight: &Insight) -> String {
    let clauses: Vec<String> = insight
        .services
        .iter()
        .filter_map(|service| Some((service, service.service_ms?, service.exchanges?)))
        .take(TOLD)
        .map(|(service, ms, exchanges)| {
            format!(
                "{} answered half of {} requests within {} and 99\u{a0}% within {}",
                service.name,
                count(exchanges),
                with_unit(ms.p50, "ms"),
                with_unit(ms.p99, "ms")
            )
        })
        .collect();
    if clauses.is_empty() {
        let looked = |service: &ServiceInsight| service.exchanges.is_some();
        return if insight.services.iter().any(looked) {
            "No HTTP request was seen.".to_owned()
        } else {
            "Requests could not be seen.".to_owned()
        };
    }
    sentence(&format!(
        "{}, as the kernel saw them at its sockets, within 6.25\u{a0}%",
        clauses.join("; ")
    ))
}

/// Answers that say that the request failed (RFC 9110, 15.5 and 15.6), by status; none if there are none.
fn errors(result: &RunResult) -> Option<String> {
    let mut by_status: BTreeMap<u16, u64> = BTreeMap::new();
    let replicas = result.replicas();
    for (status, exchanges) in replicas
        .filter_map(|replica| replica.exchanges_by_status.as_ref())
        .flatten()
    {
        *by_status.entry(*status).or_default() += exchanges;
    }
    let all: u64 = by_status.values().sum();
    by_status.retain(|status, _| *status >= 400);
    let failed: u64 = by_status.values().sum();
    let each: Vec<String> = by_status
        .iter()
        .map(|(status, exchanges)| format!("{} with {status}", count(*exchanges)))
        .collect();
    (failed > 0).then(|| {
        sentence(&format!(
            "{} of {} answers were errors: {}",
            count(failed),
            count(all),
            list(&each)
        ))
    })
}

fn time_of(figures: &WorkloadResult, beside: &WorkloadInsight) -> String {
    let name = &figures.name;
    let Some(response) = figures.response_ms else {
        return unanswered(figures, beside);
    };
    let answered = format!(
        "{name} answered half of {} requests within {} and 99\u{a0}% within {}",
        count(figures.completed),
        with_unit(response.p50, "ms"),
        with_unit(response.p99, "ms")
    );
    let spent = beside.breakdown.as_ref().map_or_else(
        || "where the time was spent is not known, because no request was matched with what the kernel saw".to_owned(),
        |breakdown| spent(breakdown, beside.through_balancer),
    );
    sentence(&format!("{answered}; {spent}"))
}

fn spent(breakdown: &Breakdown, through_balancer: bool) -> String {
    let mut parts: Vec<_> = breakdown.parts.iter().collect();
    parts.sort_by(|a, b| b.share.total_cmp(&a.share));
    let shares: Vec<String> = parts
        .iter()
        .map(|time| {
            format!(
                "{} {}",
                percent(time.share),
                passed(time.part, through_balancer)
            )
        })
        .collect();
    format!(
        "of its mean, {}, it spent {}",
        with_unit(breakdown.response_ms.mean, "ms"),
        list(&shares)
    )
}

fn unanswered(figures: &WorkloadResult, beside: &WorkloadInsight) -> String {
    let name = &figures.name;
    if figures.intended == 0 {
        return format!("{name} was asked nothing in the measured phase.");
    }
    let mut fates: Vec<String> = figures
        .failed_by_kind
        .iter()
        .map(|(kind, failed)| format!("{} failed ({kind})", count(*failed)))
        .collect();
    if figures.unfinished > 0 {
        let age = beside
            .oldest_unfinished_ms
            .map(|ms| format!(", the oldest for {}", with_unit(ms, "ms")));
        fates.push(format!(
            "{} were without an answer at the end{}",
            count(figures.unfinished),
            age.unwrap_or_default()
        ));
    }
    if figures.dropped > 0 {
        fates.push(format!("{} were never sent", count(figures.dropped)));
    }
    format!(
        "{name} answered none of {} requests: {}.",
        count(figures.intended),
        list(&fates)
    )
}

fn places(insight: &Insight) -> Vec<String> {
    let differing: Vec<(&Comparison, Difference)> = insight
        .comparisons
        .iter()
        .filter_map(|comparison| Some((comparison, comparison.difference?)))
        .collect();
    if differing.is_empty() {
        let several = insight
            .comparisons
            .iter()
            .any(|comparison| comparison.places.len() > 1);
        let why = if several {
            "No service was seen answering requests at more than one place, so there is nothing to compare."
        } else {
            "Every service ran at one place only, so there is nothing to compare."
        };
        return vec![why.to_owned()];
    }
    differing
        .iter()
        .take(TOLD)
        .map(|(comparison, difference)| places_of(comparison, *difference))
        .collect()
}

fn places_of(comparison: &Comparison, difference: Difference) -> String {
    let (slower, faster) = (
        &comparison.places[difference.slower],
        &comparison.places[difference.faster],
    );
    let place = |name: &str| match comparison.by {
        Grouping::Node => format!("on node {name}"),
        Grouping::Replica => format!("in {name}"),
    };
    let against = |slow: Option<f64>, fast: Option<f64>| {
        Some(format!(
            "{} against {}",
            figure(slow?),
            with_unit(fast?, "ms")
        ))
    };
    let mut text = format!("{} took ", comparison.service);
    // A ratio that is written as 1.00 is no difference.
    if difference.service_ratio < 1.005 {
        text += &format!(
            "the same time {} as {}",
            place(&slower.name),
            place(&faster.name)
        );
    } else {
        text += &format!(
            "{:.2} times as long {} as {}",
            difference.service_ratio,
            place(&slower.name),
            place(&faster.name)
        );
    }
    let mean = against(
        slower.service_ms.map(|ms| ms.mean),
        faster.service_ms.map(|ms| ms.mean),
    );
    if let Some(mean) = mean {
        text += &format!(" (mean {mean} in the replica)");
    }
    let mut causes = Vec::new();
    if let Some(cpu) = against(slower.cpu_ms_per_request, faster.cpu_ms_per_request) {
        causes.push(format!("it used {cpu} of CPU"));
    }
    if let Some(waits) = against(slower.wait_ms_per_request, faster.wait_ms_per_request) {
        causes.push(format!("waited {waits} for one"));
    }
    if !causes.is_empty() {
        text += &format!("; per request {}", list(&causes));
    }
    sentence(&text)
}

/// The bounds of a replica's waits, unless they are known exactly.
fn inexact_bounds(result: &RunResult, victim: &str) -> Option<WaitBoundsSeconds> {
    let (service, name) = victim.split_once('/')?;
    let mut replicas = result.services.get(service)?.replicas.iter();
    let bounds = replicas
        .find(|replica| replica.name == name)?
        .waits_seconds?
        .bounds?;
    (!bounds.are_exact()).then_some(bounds)
}

fn neighbours(result: &RunResult, insight: &Insight) -> String {
    let Some(worst) = insight
        .disturbances
        .iter()
        .find(|disturbance| disturbance.is_replica)
    else {
        let seen = result
            .replicas()
            .any(|replica| replica.waits_seconds.is_some());
        return if seen {
            "No replica waited for a CPU that someone else held.".to_owned()
        } else {
            "Who waited for whom could not be seen.".to_owned()
        };
    };
    let mut text = format!(
        "{} was disturbed most: it waited {} for CPUs that others held",
        worst.victim,
        with_unit(worst.wait_seconds, "s")
    );
    if let Some(ms) = worst.wait_ms_per_request {
        text += &format!(", {} per request", with_unit(ms, "ms"));
    }
    if let Some(bounds) = inexact_bounds(result, &worst.victim) {
        text += &format!(
            " (at least {}, at most {}: a CPU limit may have held it meanwhile)",
            figure(bounds.other_cgroups.low),
            with_unit(bounds.other_cgroups.high, "s")
        );
    }
    if let Some((aggressor, seconds)) = worst.aggressors.first() {
        text += &format!(
            "; {} of that for {aggressor}",
            percent(seconds / worst.wait_seconds)
        );
    }
    sentence(&text)
}
