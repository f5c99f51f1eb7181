//! Places side by side: CPU per request, and the range of the time in the replica.

use galileo_analysis::Insight;
use galileo_analysis::compare::{Grouping, Place};
use maud::{Markup, html};

use super::scale::{Scale, mark};
use super::{CHARACTER, Canvas, Drawing, fitted, px};
use crate::numbers::figure;

/// A service and its places.
pub(super) struct Group<'a> {
    service: &'a str,
    by: Grouping,
    places: Vec<&'a Place>,
}

/// The services that answered requests at more than one place.
pub(super) fn groups(insight: &Insight) -> Vec<Group<'_>> {
    insight
        .comparisons
        .iter()
        .filter(|comparison| comparison.difference.is_some())
        .map(|comparison| Group {
            service: &comparison.service,
            by: comparison.by,
            places: comparison
                .places
                .iter()
                .filter(|place| place.service_ms.is_some())
                .collect(),
        })
        .collect()
}

pub(super) fn draw(canvas: Canvas, groups: &[Group<'_>]) -> Drawing {
    let label = |group: &Group<'_>, place: &Place| match group.by {
        Grouping::Node => format!("{} on {}", group.service, place.name),
        Grouping::Replica => place.name.clone(),
    };
    let labels = groups
        .iter()
        .flat_map(|group| group.places.iter().map(move |place| label(group, place)));
    let longest = labels.map(|label| label.chars().count()).max().unwrap_or(0) as f64;
    let left = if canvas.narrow {
        8.0
    } else {
        (longest * CHARACTER + 22.0).clamp(60.0, 220.0)
    };
    // Behind the last mark stands the unit.
    let right = canvas.width - 34.0;
    let places = || groups.iter().flat_map(|group| &group.places);
    let values = || {
        places()
            .flat_map(|place| {
                [
                    place.cpu_ms_per_request,
                    place.service_ms.map(|ms| ms.p50),
                    place.service_ms.map(|ms| ms.p99),
                ]
            })
            .flatten()
            .filter(|value| *value > 0.0)
    };
    let scale = Scale::log(
        values().fold(f64::MAX, f64::min).min(1e9),
        values().fold(0.0, f64::max),
        left,
        right,
    );
    let first = 34.0;
    let mut top = first;
    let mut rows = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            top += 10.0;
        }
        for place in &group.places {
            let name = label(group, place);
            let middle = top + if canvas.narrow { 36.0 } else { 16.0 };
            rows.push(html! {
                @if canvas.narrow {
                    text.label x="0" y=(px(top + 10.0)) { (fitted(&name, canvas.width)) }
                } @else {
                    text.label x="0" y=(px(middle + 4.0)) { (fitted(&name, left - 14.0)) }
                }
                (row(place, &scale, middle))
            });
            top = middle + 16.0;
        }
    }
    let marks = scale.marks(0);
    let content = html! {
        (legend())
        g.grid {
            @for at in &marks { line x1=(px(scale.at(*at))) x2=(px(scale.at(*at))) y1=(px(first)) y2=(px(top)) {} }
        }
        @for row in &rows { (row) }
        g.axis {
            @for at in &marks {
                text x=(px(scale.at(*at))) y=(px(top + 16.0)) text-anchor="middle" { (mark(*at)) }
            }
            text x=(px(canvas.width)) y=(px(top + 16.0)) text-anchor="end" { "ms" }
        }
    };
    Drawing {
        height: top + 22.0,
        content,
    }
}

fn row(place: &Place, scale: &Scale, y: f64) -> Markup {
    html! {
        @if let Some(ms) = place.service_ms {
            line.range x1=(px(scale.at(ms.p50))) x2=(px(scale.at(ms.p99))) y1=(px(y)) y2=(px(y)) {}
            @if let Some(cpu) = place.cpu_ms_per_request { (diamond(scale.at(cpu), y)) }
            circle.p50 cx=(px(scale.at(ms.p50))) cy=(px(y)) r="4.5" {}
            line.p90 x1=(px(scale.at(ms.p90))) x2=(px(scale.at(ms.p90))) y1=(px(y - 5.0)) y2=(px(y + 5.0)) {}
            circle.p99 cx=(px(scale.at(ms.p99))) cy=(px(y)) r="4.5" {}
            text.note x=(px(scale.at(ms.p50))) y=(px(y - 8.0)) text-anchor="middle" { (figure(ms.p50)) }
            text.note x=(px(scale.at(ms.p99))) y=(px(y - 8.0)) text-anchor="middle" { (figure(ms.p99)) }
        }
    }
}

fn diamond(x: f64, y: f64) -> Markup {
    html! { path.cpu d={ "M" (px(x - 5.5)) " " (px(y)) "L" (px(x)) " " (px(y - 5.5)) "L" (px(x + 5.5)) " " (px(y)) "L" (px(x)) " " (px(y + 5.5)) "Z" } {} }
}

fn legend() -> Markup {
    html! {
        g.legend {
            (diamond(7.0, 8.0))
            text x="18" y="12" { "CPU/request" }
            circle.p50 cx="112" cy="8" r="4.5" {}
            text x="122" y="12" { "p50" }
            line.p90 x1="166" x2="166" y1="3" y2="13" {}
            text x="174" y="12" { "p90" }
            circle.p99 cx="218" cy="8" r="4.5" {}
            text x="228" y="12" { "p99 in the replica" }
        }
    }
}
