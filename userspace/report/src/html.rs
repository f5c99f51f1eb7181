//! The report as one file: no script, no font, no picture from elsewhere; its policy forbids all of them.
//!
//! What came from outside (names, paths, the experiment file) is data, never markup: the templates escape all of it, and
//! the embedded results carry no `<`.

mod figures;
mod parts;

use galileo_analysis::{Insight, RunResult};
use galileo_wire::{Capture, Sample};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::answers::Question;
use crate::measuring;
use crate::numbers::with_unit;
use crate::tables;
use parts::table;

const STYLE: &str = include_str!("html/style.css");

/// The element whose text is the results as JSON.
pub const RESULT_ELEMENT: &str = "galileo-result";

/// The page. `samples` with the metric `cpu_cores` (CPUs in use; subsystem: the replica's name) give the chart of CPU over
/// time; others are ignored.
#[must_use]
pub fn page(
    result: &RunResult,
    insight: &Insight,
    capture: &Capture,
    samples: &[Sample],
) -> String {
    let experiment = &result.experiment;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "galileo " (capture.machine.galileo) };
                link rel="icon" href="data:,";
                title { (experiment.name) " · " (experiment.id) " · Galileo" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(result, insight, capture))
                main {
                    (verdict(result))
                    @for (number, question) in (1..).zip(Question::ALL) {
                        section id={ "question-" (number) } {
                            h2 { span.number { (number) } " " (question.title()) }
                            @for sentence in question.answer(result, insight) { p.answer { (sentence) } }
                            (behind(question, result, insight, capture, samples))
                        }
                    }
                    (ledgers(result))
                    section id="cost" {
                        h2 { "What did watching cost?" }
                        p.answer { (measuring::cost(result, insight, capture)) }
                        (table(&tables::programs(result)))
                        @if let Some(memory) = measuring::memory(result) { p.answer { (memory) } }
                        (table(&tables::kernel_memory(result)))
                    }
                    (parts::repeat(result, capture))
                }
                (parts::foot())
                script type="application/json" id=(RESULT_ELEMENT) { (embedded(result)) }
            }
        }
    };
    page.into_string()
}

/// The results as JSON that cannot end the element it stands in: `\u003c` is `<` to every JSON parser (RFC 8259 §7) and
/// nothing to the HTML parser, which looks for `</script` and `<!--`.
fn embedded(result: &RunResult) -> PreEscaped<String> {
    let json = serde_json::to_string(result)
        .expect("its maps have string keys and its numbers are plain, so it serialises");
    PreEscaped(json.replace('<', "\\u003c"))
}

fn head(result: &RunResult, insight: &Insight, capture: &Capture) -> Markup {
    let experiment = &result.experiment;
    html! {
        header {
            h1 { (experiment.name) }
            p.facts {
                span { (experiment.id) }
                span { time datetime=(experiment.started) { (experiment.started) } }
                @if let Some(seconds) = insight.measured_seconds { span { (with_unit(seconds, "s")) " measured" } }
                span { "seed " (experiment.seed) }
                @if !capture.machine.hostname.is_empty() { span { (capture.machine.hostname) } }
            }
        }
    }
}

/// What forbids trusting the run, and what could not be seen: before all answers.
fn verdict(result: &RunResult) -> Markup {
    html! {
        @if !result.valid {
            section.verdict.invalid aria-label="Validity" {
                p { strong { "Not valid." } " These figures are not to be trusted, because:" }
                ul { @for reason in &result.invalid_reasons { li { (reason) } } }
            }
        }
        @if !result.unseen.is_empty() {
            section.verdict.unseen aria-label="Not seen" {
                p { strong { "Not seen" } " on this machine:" }
                ul { @for unseen in &result.unseen { li { (unseen) } } }
            }
        }
    }
}

/// The charts and tables behind an answer.
fn behind(
    question: Question,
    result: &RunResult,
    insight: &Insight,
    capture: &Capture,
    samples: &[Sample],
) -> Markup {
    match question {
        Question::Cpu => html! {
            (figures::cpu_over_time(capture, samples))
            (table(&tables::usage(result, insight)))
            @if let Some(hidden) = measuring::hidden(result) { p.note { (hidden) } }
            (table(&tables::network(result)))
            (table(&tables::interfaces(result)))
        },
        Question::Time => html! {
            (figures::response_times(insight))
            (table(&tables::times(result)))
            (figures::where_time_went(insight))
            (table(&tables::parts(insight)))
            @if let Some(flagged) = measuring::flagged(result) { p.note { (flagged) } }
        },
        Question::Places => html! {
            (figures::places(insight))
            (table(&tables::places(insight)))
        },
        Question::Neighbours => html! {
            (figures::waits(result))
            (table(&tables::waits(result)))
            (table(&tables::cpus(result, usize::MAX)))
            p.note { (measuring::taken(result, capture)) }
            (table(&tables::system(result, usize::MAX)))
            (parts::matrix(result))
            @if let Some(sentence) = measuring::limits_not_known(result) { p.note { (sentence) } }
        },
    }
}

fn ledgers(result: &RunResult) -> Markup {
    html! {
        section id="ledgers" {
            h2 { "Do the figures add up?" }
            p.answer { (measuring::losses(result)) }
            @if let Some(noticed) = measuring::noticed(result) { p.note { (noticed) } }
            @if !result.ledgers.is_empty() {
                div.scroll tabindex="0" {
                    table.ledgers {
                        caption {
                            span { "Sums that must hold: exactly for counts, within 1 % (all CPUs: 0.5 %) or 5 ms, and what else is named, for times that two observers took" }
                        }
                        thead { tr { th scope="col" { "of" } th scope="col" { "sum" } th scope="col" { "holds" } } }
                        tbody {
                            @for ledger in &result.ledgers {
                                tr.bad[!ledger.holds] {
                                    th scope="row" { (ledger.subject) }
                                    td { (tables::equation(ledger)) }
                                    td { @if ledger.holds { "yes" } @else { strong { "no" } } }
                                }
                            }
                        }
                    }
                }
            }
            @if let Some(sentence) = measuring::accounting(result) { p.note { (sentence) } }
        }
    }
}
