//! From values to places on an axis, and where its marks stand.

/// An axis of a chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    log: bool,
    /// Where `from` and `to` lie on the drawing.
    start: f64,
    end: f64,
}

impl Scale {
    /// From 0 to at least `most`, whose end is a mark.
    pub(super) fn linear(most: f64, start: f64, end: f64, marks: usize) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most, marks);
        Self {
            from: 0.0,
            to: (most / step).ceil() * step,
            log: false,
            start,
            end,
        }
    }

    /// Exactly `from` to `to`.
    pub(super) fn exact(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self {
            from,
            to: if to > from { to } else { from + 1.0 },
            log: false,
            start,
            end,
        }
    }

    /// A logarithmic axis over `least..most`, both widened to 1, 2 or 5 times a power of ten.
    pub(super) fn log(least: f64, most: f64, start: f64, end: f64) -> Self {
        let least = least.max(1e-6);
        let from = round_log(least, f64::floor);
        let to = round_log(most.max(least * 1.5), f64::ceil);
        Self {
            from,
            to,
            log: true,
            start,
            end,
        }
    }

    /// Where a value lies; what is outside lies at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Where marks stand: every 1, 2, 5 on a logarithmic axis (only powers of ten on a long one), else about `marks`.
    pub(super) fn marks(&self, marks: usize) -> Vec<f64> {
        if self.log {
            let long = (self.to / self.from).log10() > 3.3;
            let first = self.from.log10().floor() as i32;
            let last = self.to.log10().ceil() as i32;
            let within = |value: &f64| *value >= self.from * 0.999 && *value <= self.to * 1.001;
            let steps: &[f64] = if long { &[1.0] } else { &[1.0, 2.0, 5.0] };
            (first..=last)
                .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
                .filter(within)
                .collect()
        } else {
            let step = step(self.to - self.from, marks);
            let count = ((self.to - self.from) / step + 1e-9).floor() as usize;
            (0..=count)
                .map(|index| self.from + step * index as f64)
                .collect()
        }
    }
}

/// The largest of 1, 2 or 5 times a power of ten that gives at least about `marks` steps.
fn step(length: f64, marks: usize) -> f64 {
    let raw = length / marks.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor = match raw / power {
        ratio if ratio < 1.5 => 1.0,
        ratio if ratio < 3.5 => 2.0,
        ratio if ratio < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

fn round_log(value: f64, round: fn(f64) -> f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let ratio = value / power;
    let steps = [1.0, 2.0, 5.0, 10.0];
    let up = round(0.5) > 0.5;
    let chosen = if up {
        steps
            .into_iter()
            .find(|step| *step >= ratio - 1e-9)
            .unwrap_or(10.0)
    } else {
        steps
            .into_iter()
            .rev()
            .find(|step| *step <= ratio + 1e-9)
            .unwrap_or(1.0)
    };
    chosen * power
}

/// How a mark is written: without digits that tell nothing.
pub(super) fn mark(value: f64) -> String {
    if value >= 1_000.0 {
        return crate::numbers::count(value.round() as u64);
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_at_a_mark() {
        let scale = Scale::linear(0.83, 0.0, 100.0, 4);
        let marks: Vec<String> = scale.marks(4).into_iter().map(mark).collect();
        assert_eq!(marks, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!((scale.at(0.0), scale.at(1.0)), (0.0, 100.0));
    }

    #[test]
    fn a_logarithmic_axis_is_widened_to_round_values() {
        let scale = Scale::log(1.7, 34.0, 100.0, 0.0);
        let marks: Vec<String> = scale.marks(0).into_iter().map(mark).collect();
        assert_eq!(marks, ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(
            (scale.at(1.0), scale.at(50.0), scale.at(900.0)),
            (100.0, 0.0, 0.0)
        );
    }

    #[test]
    fn an_axis_of_nothing_is_an_axis_still() {
        assert!(Scale::linear(0.0, 0.0, 1.0, 4).at(0.0).is_finite());
        assert!(Scale::log(0.0, 0.0, 0.0, 1.0).at(0.0).is_finite());
        assert!(Scale::exact(3.0, 3.0, 0.0, 1.0).at(3.0).is_finite());
    }
}
