//! Horizontal stacked bars with their values in them.

use maud::{Markup, html};

use super::scale::{Scale, mark};
use super::{CHARACTER, Canvas, Drawing, fitted, px};
use crate::numbers::figure;

/// A bar.
pub(super) struct Bar {
    pub(super) label: String,
    /// A part of the bar above it.
    pub(super) sub: bool,
    pub(super) segments: Vec<Segment>,
}

/// A part of a bar; the class gives its colour.
pub(super) struct Segment {
    pub(super) value: f64,
    pub(super) class: &'static str,
}

/// Room for the value behind a bar.
const BEHIND: f64 = 52.0;

pub(super) fn draw(canvas: Canvas, bars: &[Bar], keys: &[(&str, &str)], unit: &str) -> Drawing {
    let longest = bars
        .iter()
        .map(|bar| bar.label.chars().count())
        .max()
        .unwrap_or(0) as f64;
    // Labels stand left of the bars, on a narrow drawing above them.
    let left = if canvas.narrow {
        1.0
    } else {
        (longest * CHARACTER + 22.0).clamp(60.0, 220.0)
    };
    let above = if canvas.narrow { 16.0 } else { 0.0 };
    let thick = 20.0;
    let row = thick + above + 8.0;
    let most = bars.iter().map(total).fold(0.0, f64::max);
    let scale = Scale::exact(0.0, most, left, canvas.width - BEHIND);
    let (legend, legend_height) = legend(canvas, keys);
    let mut top = legend_height + 4.0;
    let first = top;
    let mut rows = Vec::new();
    for bar in bars {
        if !bar.sub && top > first {
            top += 6.0;
        }
        rows.push(draw_bar(canvas, bar, &scale, left, top, above, thick));
        top += row;
    }
    let marks = scale.marks(if canvas.narrow { 3 } else { 6 });
    let content = html! {
        (legend)
        g.grid {
            @for at in &marks {
                line x1=(px(scale.at(*at))) x2=(px(scale.at(*at))) y1=(px(first - 2.0)) y2=(px(top)) {}
            }
        }
        @for row in &rows { (row) }
        g.axis {
            @for (index, at) in marks.iter().enumerate() {
                // The first mark of a narrow drawing stands at its edge.
                text x=(px(scale.at(*at))) y=(px(top + 15.0)) text-anchor=(if index == 0 && canvas.narrow { "start" } else { "middle" }) {
                    (mark(*at))
                }
            }
            text x=(px(canvas.width)) y=(px(top + 15.0)) text-anchor="end" { (unit) }
        }
    };
    Drawing {
        height: top + 22.0,
        content,
    }
}

fn total(bar: &Bar) -> f64 {
    bar.segments.iter().map(|segment| segment.value).sum()
}

fn draw_bar(
    canvas: Canvas,
    bar: &Bar,
    scale: &Scale,
    left: f64,
    top: f64,
    above: f64,
    thick: f64,
) -> Markup {
    let mut sum = 0.0;
    let segments: Vec<(f64, f64, &Segment)> = bar
        .segments
        .iter()
        .map(|segment| {
            let start = scale.at(sum);
            sum += segment.value;
            (start, scale.at(sum), segment)
        })
        .collect();
    let y = top + above;
    let middle = y + thick / 2.0 + 4.0;
    let indent = if bar.sub { 12.0 } else { 0.0 };
    html! {
        g.bar.sub[bar.sub] {
            @if canvas.narrow {
                text.label x=(px(left)) y=(px(y - 5.0)) { (fitted(&bar.label, canvas.width)) }
            } @else {
                text.label x=(px(indent)) y=(px(middle)) { (fitted(&bar.label, left - indent - 8.0)) }
            }
            @for (start, end, segment) in segments.iter().filter(|(start, end, _)| end > start) {
                rect class=(segment.class) x=(px(*start)) y=(px(y)) width=(px(end - start)) height=(px(thick)) {}
                @if end - start > figure(segment.value).len() as f64 * CHARACTER + 8.0 {
                    text class={ "value on-" (segment.class) } x=(px(f64::midpoint(*start, *end))) y=(px(middle)) text-anchor="middle" {
                        (figure(segment.value))
                    }
                }
            }
            text.total x=(px(scale.at(sum) + 6.0)) y=(px(middle)) { (figure(sum)) }
        }
    }
}

/// The keys in lines as wide as the drawing, and how high they became.
fn legend(canvas: Canvas, keys: &[(&str, &str)]) -> (Markup, f64) {
    let (mut x, mut y) = (0.0, 2.0);
    let mut placed = Vec::new();
    for (name, class) in keys {
        let width = 18.0 + name.chars().count() as f64 * CHARACTER + 16.0;
        if x > 0.0 && x + width - 16.0 > canvas.width {
            (x, y) = (0.0, y + 18.0);
        }
        placed.push((x, y, name, class));
        x += width;
    }
    let content = html! {
        g.legend {
            @for (x, y, name, class) in placed {
                rect class=(class) x=(px(x)) y=(px(y)) width="11" height="11" {}
                text x=(px(x + 17.0)) y=(px(y + 10.0)) { (name) }
            }
        }
    };
    (content, y + 24.0)
}
