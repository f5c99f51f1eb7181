//! Lines over the time of the run.

use galileo_wire::{Capture, Phase, Sample};
use maud::html;

use super::scale::{Scale, mark};
use super::{CHARACTER, COLOURS, Canvas, Drawing, fitted, px};

/// The metric that is drawn.
const METRIC: &str = "cpu_cores";

/// So many lines have a name and a colour; the others are drawn grey behind them.
const NAMED: usize = COLOURS - 1;

/// Length of the piece of line before a name.
const SAMPLE: f64 = 20.0;

/// How the lines of a service's replicas are told apart: they share its colour.
const DASHES: [&str; 4] = ["none", "6 3", "2 2.5", "9 3 2 3"];

/// One replica's CPUs over the seconds of the run.
pub(super) struct Line {
    name: String,
    /// Position of its service, which gives the colour.
    service: usize,
    /// Position among the service's replicas, which gives the dashes.
    replica: usize,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn mean(&self) -> f64 {
        self.points.iter().map(|(_, value)| value).sum::<f64>() / self.points.len().max(1) as f64
    }
}

/// The lines of all replicas that have at least two samples; if they are too many to be named, the busiest first.
pub(super) fn lines(capture: &Capture, samples: &[Sample]) -> Vec<Line> {
    let replicas = capture
        .services
        .values()
        .enumerate()
        .flat_map(|(service, deployed)| {
            deployed
                .replicas
                .iter()
                .enumerate()
                .map(move |(index, replica)| (service, index, replica))
        });
    let mut lines: Vec<Line> = replicas
        .map(|(service, index, replica)| {
            let mut points: Vec<(f64, f64)> = samples
                .iter()
                .filter(|sample| {
                    sample.metric == METRIC
                        && sample.subsystem == replica.name
                        && sample.value.is_finite()
                })
                .map(|sample| (since_start(capture, sample.at_ns), sample.value.max(0.0)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line {
                name: replica.name.clone(),
                service,
                replica: index,
                points,
            }
        })
        .filter(|line| line.points.len() > 1)
        .collect();
    if lines.len() > NAMED {
        lines.sort_by(|a, b| b.mean().total_cmp(&a.mean()));
    }
    lines
}

fn since_start(capture: &Capture, at_ns: u64) -> f64 {
    at_ns.saturating_sub(capture.started_ns) as f64 / 1e9
}

pub(super) fn draw(canvas: Canvas, capture: &Capture, lines: &[Line]) -> Drawing {
    let (left, top, bottom) = (38.0, 26.0, if canvas.narrow { 220.0 } else { 240.0 });
    let longest = lines
        .iter()
        .take(NAMED)
        .map(|line| line.name.chars().count())
        .max()
        .unwrap_or(0) as f64;
    let labels = (longest * CHARACTER + 12.0 + SAMPLE).clamp(40.0, canvas.width * 0.34);
    let right = canvas.width - labels;
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Scale::exact(
        0.0,
        points().map(|point| point.0).fold(0.0, f64::max),
        left,
        right,
    );
    let y = Scale::linear(
        points().map(|point| point.1).fold(0.0, f64::max),
        bottom,
        top,
        4,
    );
    let path = |line: &Line| {
        let mut path = String::new();
        for (index, (at, value)) in line.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            path += &format!("{command}{} {}", px(x.at(*at)), px(y.at(*value)));
        }
        path
    };
    let named = &lines[..lines.len().min(NAMED)];
    let ends: Vec<f64> = named
        .iter()
        .map(|line| line.points.last().map_or(bottom, |point| y.at(point.1)))
        .collect();
    let ends = apart(&ends, 15.0, top, bottom);
    let measured = capture.window(Phase::Measured).map(|window| {
        (
            x.at(since_start(capture, window.start_ns)),
            x.at(since_start(capture, window.end_ns)),
        )
    });
    let content = html! {
        @if let Some((start, end)) = measured {
            rect.measured x=(px(start)) y=(px(top)) width=(px(end - start)) height=(px(bottom - top)) {}
            text.note x=(px(start + 6.0)) y=(px(top - 6.0)) { "measured" }
        }
        g.grid {
            @for at in y.marks(4) { line x1=(px(left)) x2=(px(right)) y1=(px(y.at(at))) y2=(px(y.at(at))) {} }
        }
        g.axis {
            @for at in y.marks(4) {
                text x=(px(left - 8.0)) y=(px(y.at(at) + 4.0)) text-anchor="end" { (mark(at)) }
            }
            @for at in x.marks(if canvas.narrow { 4 } else { 8 }) {
                text x=(px(x.at(at))) y=(px(bottom + 18.0)) text-anchor="middle" { (mark(at)) }
            }
            text x="0" y="12" { "CPUs" }
            text x=(px(right)) y=(px(bottom + 36.0)) text-anchor="end" { "seconds since the run began" }
        }
        @for line in &lines[named.len()..] { path.curve.unnamed d=(path(line)) {} }
        @for (line, end) in named.iter().zip(&ends) {
            @let colour = line.service.min(COLOURS - 1);
            @let dashes = DASHES[line.replica % DASHES.len()];
            path class={ "curve s" (colour) } stroke-dasharray=(dashes) d=(path(line)) {}
            line class={ "curve s" (colour) } stroke-dasharray=(dashes)
                x1=(px(right + 6.0)) x2=(px(right + SAMPLE)) y1=(px(*end)) y2=(px(*end)) {}
            text class={ "name t" (colour) } x=(px(right + SAMPLE + 5.0)) y=(px(end + 4.0)) {
                (fitted(&line.name, labels - SAMPLE - 4.0))
            }
        }
    };
    Drawing {
        height: bottom + 42.0,
        content,
    }
}

/// The places moved so that neighbours are at least `gap` apart, in their order, within `top..bottom` as far as they fit.
pub(super) fn apart(places: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    let mut least = top;
    for index in &order {
        moved[*index] = moved[*index].max(least);
        least = moved[*index] + gap;
    }
    let mut most = bottom;
    for index in order.iter().rev() {
        moved[*index] = moved[*index].min(most);
        most = moved[*index] - gap;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_cover_one_another_are_moved_apart() {
        assert_eq!(
            apart(&[50.0, 52.0, 10.0], 15.0, 0.0, 100.0),
            [50.0, 65.0, 10.0]
        );
        assert_eq!(apart(&[98.0, 99.0], 15.0, 0.0, 100.0), [85.0, 100.0]);
    }
}
