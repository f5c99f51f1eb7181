//! Quantile curves: the tail of a distribution gets as much room as its body.

use galileo_analysis::Insight;
use galileo_analysis::quantiles::CurvePoint;
use maud::html;

use super::scale::{Scale, mark};
use super::timeline::apart;
use super::{CHARACTER, COLOURS, Canvas, Drawing, fitted, px};

/// The curves of a workload.
pub(super) struct Curves<'a> {
    name: &'a str,
    colour: usize,
    response: &'a [CurvePoint],
    service: &'a [CurvePoint],
}

impl Curves<'_> {
    /// How far to the right its curve reaches.
    fn end(&self, x: &Scale) -> f64 {
        self.response
            .last()
            .map_or(x.at(0.0), |point| x.at(tail(point.fraction)))
    }
}

/// A workload has the colour that its service has in other charts, unless several workloads ask the same service.
pub(super) fn curves(insight: &Insight) -> Vec<Curves<'_>> {
    let mut asked: Vec<&str> = insight
        .workloads
        .iter()
        .map(|workload| workload.service.as_str())
        .collect();
    asked.sort_unstable();
    let distinct = asked.windows(2).all(|pair| pair[0] != pair[1]);
    let of_service = |name: &str| {
        insight
            .services
            .iter()
            .position(|service| service.name == name)
    };
    insight
        .workloads
        .iter()
        .enumerate()
        .filter(|(_, workload)| !workload.response_curve.is_empty())
        .map(|(index, workload)| Curves {
            name: &workload.name,
            colour: of_service(&workload.service)
                .filter(|_| distinct)
                .unwrap_or(index)
                .min(COLOURS - 1),
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
        @for (curves, end) in curves.iter().zip(&ends) {
            path class={ "curve dashed s" (curves.colour) } d=(path(curves.service)) {}
            path class={ "curve s" (curves.colour) } d=(path(curves.response)) {}
            text class={ "name t" (curves.colour) } x=(px(curves.end(&x) + 6.0)) y=(px(end + 4.0)) {
                (fitted(curves.name, labels - 4.0))
            }
        }
    };
    Drawing {
        height: bottom + 42.0,
        content,
    }
}
