//! The charts, drawn as SVG. Each is drawn twice, for a page's column and for a telephone, so that its text is the same
//! size on both; the style sheet shows one of them.

mod bars;
mod curves;
mod ranges;
mod scale;
mod timeline;

use galileo_analysis::breakdown::Part;
use galileo_analysis::{Insight, RunResult};
use galileo_wire::{Capture, Sample};
use maud::{Markup, html};

use bars::{Bar, Segment};

/// How much room there is, in CSS pixels.
#[derive(Debug, Clone, Copy)]
struct Canvas {
    width: f64,
    narrow: bool,
}

/// A drawing and how high it became.
struct Drawing {
    height: f64,
    content: Markup,
}

const WIDE: Canvas = Canvas {
    width: 720.0,
    narrow: false,
};
const NARROW: Canvas = Canvas {
    width: 360.0,
    narrow: true,
};

/// Colours that are told apart by all eyes; what comes after them shares the last.
const COLOURS: usize = 7;

/// Width of a character of the figures' text: the average of a wide font, in bold.
const CHARACTER: f64 = 7.0;

/// The drawing in both sizes with a caption. `title` and `description` are what a screen reader tells.
fn figure(
    id: &str,
    title: &str,
    description: &str,
    caption: &Markup,
    draw: impl Fn(Canvas) -> Drawing,
) -> Markup {
    let svg = |canvas: Canvas, size: &str| {
        let drawing = draw(canvas);
        let (title_id, description_id) =
            (format!("{id}-{size}-title"), format!("{id}-{size}-desc"));
        html! {
            svg class=(size) role="img" aria-labelledby={ (title_id) " " (description_id) }
                viewBox={ "0 0 " (canvas.width) " " (px(drawing.height)) } {
                title id=(title_id) { (title) }
                desc id=(description_id) { (description) }
                (drawing.content)
            }
        }
    };
    html! {
        figure id=(id) {
            (svg(WIDE, "wide"))
            (svg(NARROW, "narrow"))
            figcaption { (caption) }
        }
    }
}

/// A coordinate, to a tenth of a pixel.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A text cut to the room there is.
fn fitted(text: &str, room: f64) -> String {
    let most = (room / CHARACTER) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// CPUs in use by each replica over the whole run.
pub(super) fn cpu_over_time(capture: &Capture, samples: &[Sample]) -> Markup {
    let lines = timeline::lines(capture, samples);
    html! {
        @if !lines.is_empty() {
            (figure(
                "cpu-over-time",
                "CPU over time",
                "CPUs in use by each replica, from the begin of the run to its end; the measured phase is shaded.",
                &html! { "CPUs in use by each replica. The figures of this report cover the shaded part, the measured phase." },
                |canvas| timeline::draw(canvas, capture, &lines),
            ))
        }
    }
}

/// The distribution of response times of each workload.
pub(super) fn response_times(insight: &Insight) -> Markup {
    let curves = curves::curves(insight);
    html! {
        @if !curves.is_empty() {
            (figure(
                "response-times",
                "Response times",
                "For each workload the time that a share of its requests did not exceed, from 0 % to the largest.",
                &html! {
                    "Times that a share of the requests did not exceed. Solid: response time, from the moment a request was due. "
                    "Dashed: service time, from its first byte sent. Both axes are logarithmic, the lower one towards 100 %."
                },
                |canvas| curves::draw(canvas, &curves),
            ))
        }
    }
}

/// Where the mean response time went, as stacked bars.
pub(super) fn where_time_went(insight: &Insight) -> Markup {
    let mut bars = Vec::new();
    for workload in &insight.workloads {
        let Some(breakdown) = &workload.breakdown else {
            continue;
        };
        bars.push(Bar {
            label: workload.name.clone(),
            sub: false,
            segments: part_segments(breakdown),
        });
        for replica in &workload.by_replica {
            let label = format!("{} on {}", replica.replica, replica.node);
            bars.push(Bar {
                label,
                sub: true,
                segments: part_segments(&replica.breakdown),
            });
        }
    }
    let keys = [
        ("waiting to be sent", "c-client"),
        ("to the balancer", "c-balancer"),
        ("balancer and network", "c-between"),
        ("in the replica", "c-replica"),
    ];
    html! {
        @if !bars.is_empty() {
            (figure(
                "where-time-went",
                "Where the time went",
                "The mean response time of each workload and of the replicas that answered it, split into its parts.",
                &html! { "Mean response time, split by what the client, the balancer and the kernel saw of the same requests." },
                |canvas| bars::draw(canvas, &bars, &keys, "ms"),
            ))
        }
    }
}

fn part_segments(breakdown: &galileo_analysis::breakdown::Breakdown) -> Vec<Segment> {
    breakdown
        .parts
        .iter()
        .map(|time| Segment {
            value: time.ms.mean,
            class: match time.part {
                Part::Client => "c-client",
                Part::ToBalancer => "c-balancer",
                Part::Between => "c-between",
                Part::Replica => "c-replica",
            },
        })
        .collect()
}

/// What each replica waited for, as stacked bars.
pub(super) fn waits(result: &RunResult) -> Markup {
    let bars: Vec<Bar> = result
        .replicas()
        .filter_map(|replica| {
            let waits = replica.waits_seconds?;
            let segment = |value, class| Segment { value, class };
            Some(Bar {
                label: format!("{} on {}", replica.name, replica.node),
                sub: false,
                segments: vec![
                    segment(waits.other_cgroups, "c-others"),
                    segment(waits.own_tasks, "c-own"),
                    segment(waits.cpu_limit, "c-limit"),
                    segment(waits.unexplained, "c-unknown"),
                ],
            })
        })
        .collect();
    let keys = [
        ("others held the CPU", "c-others"),
        ("own tasks held it", "c-own"),
        ("CPU limit", "c-limit"),
        ("unknown", "c-unknown"),
    ];
    let are_exact = result
        .replicas()
        .filter_map(|replica| replica.waits_seconds?.bounds)
        .all(|bounds| bounds.are_exact());
    html! {
        @if !bars.is_empty() {
            (figure(
                "waits",
                "Waits for a CPU",
                "The time that each replica's tasks waited for a CPU in the measured phase, split by what they waited for.",
                &html! {
                    "Time that the tasks of each replica were ready to run and waited for a CPU, by what they waited for."
                    @if !are_exact { " Of CPU limits what is drawn may be more or less; the table has the bounds." }
                },
                |canvas| bars::draw(canvas, &bars, &keys, "s"),
            ))
        }
    }
}

/// Service times and CPU per request of each service, place by place.
pub(super) fn places(insight: &Insight) -> Markup {
    let groups = ranges::groups(insight);
    html! {
        @if !groups.is_empty() {
            (figure(
                "places",
                "The same service at different places",
                "For each service and place: CPU time per request, and the 50th, 90th and 99th percentile of the time in the replica.",
                &html! { "Time in the replica and CPU time per request, for each place that hosts the service; logarithmic axis." },
                |canvas| ranges::draw(canvas, &groups),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_carry_no_needless_digits() {
        assert_eq!([0.0, 12.04, 12.06].map(px), ["0", "12", "12.1"]);
    }

    #[test]
    fn a_text_is_cut_to_its_room() {
        assert_eq!(fitted("web-0 on a", 100.0), "web-0 on a");
        assert_eq!(fitted("web-0 on a", 5.5 * CHARACTER), "web-…");
    }
}
