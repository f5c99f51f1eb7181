//! Quantile curves: the tail of a distribution gets as much room as its body.

use galileo_analysis::Insight;
use galileo_analysis::quantiles::CurvePoint;
use maud::html;

use super::scale::{Scale, mark};
use super::{CHARACTER, COLOURS, Canvas, Drawing, fitted, px};
use crate::html::figures::timeline::apart;

/// The curves of a workload.
pub(super) struct Curves<'a> {
    name: &'a str,
    response: &'a [CurvePoint],
    service: &'a [CurvePoint],
}

pub(super) fn curves(insight: &Insight) -> Vec<Curves<'_>> {
    insight
        .workloads
        .iter()
        .filter(|workload| !workload.response_curve.is_empty())
        .map(|workload| Curves {
            name: &workload.name,
            response: &workload.response_curve,
            service: &workload.service_curve,
        })
        .collect()
}

/// Marks of the lower axis: what share, and its name.
const SHARES: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.999_9, "99.99 %"),
    (0.999_99, "99.999 %"),
    (0.999_999, "99.9999 %"),
];

/// Decades towards 100 %.
fn tail(fraction: f64) -> f64 {
    -(1.0 - fraction).log10()
}

pub(super) fn draw(canvas: Canvas, curves: &[Curves<'_>]) -> Drawing {
    let (left, top, bottom) = (46.0, 26.0, 300.0);
    let longest = curves
        .iter()
        .map(|curve| curve.name.chars().count())
        .max()
        .unwrap_or(0) as f64;
    let labels = (longest * CHARACTER + 12.0).clamp(40.0, canvas.width * 0.3);
    let right = canvas.width - labels;
    let points = || {
        curves
            .iter()
            .flat_map(|curves| curves.response.iter().chain(curves.service))
    };
    let furthest = points()
        .map(|point| tail(point.fraction))
        .fold(0.5, f64::max);
    let x = Scale::exact(0.0, furthest, left, right);
    let positive = || points().map(|point| point.ms).filter(|ms| *ms > 0.0);
    let y = Scale::log(
        positive().fold(f64::MAX, f64::min).min(1e9),
        positive().fold(0.0, f64::max),
        bottom,
        top,
    );
    let path = |points: &[CurvePoint]| {
        let mut path = String::new();
        for (index, point) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            path += &format!(
                "{command}{} {}",
                px(x.at(tail(point.fraction))),
                px(y.at(point.ms))
            );
        }
        path
    };
    let ends: Vec<f64> = curves
        .iter()
        .map(|curves| {
            curves
                .response
                .last()
                .map_or(bottom, |point| y.at(point.ms))
        })
        .collect();
    let ends = apart(&ends, 15.0, top, bottom);
    let colour = |index: usize| index.min(COLOURS - 1);
    let content = html! {
        g.grid {
            @for at in y.marks(0) { line x1=(px(left)) x2=(px(right)) y1=(px(y.at(at))) y2=(px(y.at(at))) {} }
            @for (share, _) in SHARES.iter().filter(|(share, _)| tail(*share) <= furthest) {
                line x1=(px(x.at(tail(*share)))) x2=(px(x.at(tail(*share)))) y1=(px(top)) y2=(px(bottom)) {}
            }
        }
        g.axis {
            @for at in y.marks(0) {
                text x=(px(left - 8.0)) y=(px(y.at(at) + 4.0)) text-anchor="end" { (mark(at)) }
            }
            @for (index, (share, name)) in SHARES.iter().filter(|(share, _)| tail(*share) <= furthest).enumerate() {
                // On a narrow drawing, 50 % stands too near to 0 %.
                @if !(canvas.narrow && index == 1) {
                    text x=(px(x.at(tail(*share)))) y=(px(bottom + 18.0)) text-anchor="middle" { (name) }
                }
            }
            text x="0" y="12" { "ms" }
            text x=(px(right)) y=(px(bottom + 36.0)) text-anchor="end" { "share of requests that took no longer" }
        }
        @for (index, curves) in curves.iter().enumerate() {
            path class={ "curve dashed s" (colour(index)) } d=(path(curves.service)) {}
            path class={ "curve s" (colour(index)) } d=(path(curves.response)) {}
            text class={ "name t" (colour(index)) } x=(px(right + 6.0)) y=(px(ends[index] + 4.0)) {
                (fitted(curves.name, labels - 4.0))
            }
        }
    };
    Drawing {
        height: bottom + 42.0,
        content,
    }
}
