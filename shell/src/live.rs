//! What a run shows while it goes on: bars on a terminal, else a line for each stage; on standard error.

use std::io::{self, IsTerminal};
use std::time::Duration;

use galileo_experiment::runner::{Live, Stage};
use galileo_load::Progress;
use galileo_report::numbers::{count, with_unit};
use galileo_wire::clock::boot_ns;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::output::tell;
use crate::session::Session;
use crate::text::printable;

/// Shows one run.
pub struct View {
    live: Live,
    kind: Kind,
}

enum Kind {
    Nothing,
    Lines { last: Option<Stage> },
    Bars(Box<Bars>),
}

struct Bars {
    screen: MultiProgress,
    stage: ProgressBar,
    rows: Vec<ProgressBar>,
}

impl View {
    /// Of the form that suits standard error.
    pub fn new(live: Live, quiet: bool, session: &Session) -> Self {
        let kind = if quiet {
            Kind::Nothing
        } else if io::stderr().is_terminal() {
            Kind::Bars(Box::new(Bars::new(session.screen(), &live)))
        } else {
            Kind::Lines { last: None }
        };
        Self { live, kind }
    }

    /// Shows the run until it has ended.
    pub async fn show(mut self, frame: Duration, ended: CancellationToken) {
        if matches!(self.kind, Kind::Nothing) {
            return;
        }
        let mut frames = tokio::time::interval(frame);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = frames.tick() => self.draw(),
                () = ended.cancelled() => break,
            }
        }
        if let Kind::Bars(bars) = &self.kind {
            bars.clear();
        }
    }

    fn draw(&mut self) {
        let stage = self.live.stage();
        match &mut self.kind {
            Kind::Nothing => {}
            Kind::Lines { last } => {
                if last.as_ref() != Some(&stage) {
                    if let Some(line) = told(&stage) {
                        tell(line);
                    }
                    *last = Some(stage);
                }
            }
            Kind::Bars(bars) => bars.draw(&stage, &self.live),
        }
    }
}

/// A stage in words; none for those that nobody waits for.
fn told(stage: &Stage) -> Option<String> {
    let span = |begin: u64, end: u64| seconds(end.saturating_sub(begin));
    match stage {
        Stage::Preparing => Some("preparing".to_owned()),
        Stage::Starting { replica } => Some(format!("starting {}", printable(replica))),
        Stage::WarmingUp { begin_ns, end_ns } => {
            Some(format!("warming up for {}", span(*begin_ns, *end_ns)))
        }
        Stage::Measuring { begin_ns, end_ns } => Some(match end_ns {
            Some(end_ns) => format!("measuring for {}", span(*begin_ns, *end_ns)),
            None => "measuring until the end".to_owned(),
        }),
        Stage::Draining => Some("waiting for the last answers".to_owned()),
        Stage::Storing => Some("storing".to_owned()),
        Stage::Done => None,
    }
}

impl Bars {
    fn new(screen: MultiProgress, live: &Live) -> Self {
        screen.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let line = |template| screen.add(ProgressBar::new_spinner().with_style(style(template)));
        let stage = line("{spinner} {wide_msg}");
        let rows = match live.workloads().len() {
            0 => Vec::new(),
            // One more for the heading.
            many => (0..=many).map(|_| line("  {wide_msg}")).collect(),
        };
        Self {
            screen,
            stage,
            rows,
        }
    }

    fn draw(&self, stage: &Stage, live: &Live) {
        // One message a line, so that no frame shows the figures of one stage under the name of another.
        self.stage.set_message(match stage {
            Stage::WarmingUp { begin_ns, end_ns } => bar("warming up", *begin_ns, *end_ns),
            Stage::Measuring {
                begin_ns,
                end_ns: Some(end_ns),
            } => bar("measuring", *begin_ns, *end_ns),
            Stage::Measuring {
                begin_ns,
                end_ns: None,
            } => format!(
                "measuring since {}; Ctrl-C ends it",
                seconds(boot_ns().saturating_sub(*begin_ns))
            ),
            other => told(other).unwrap_or_default(),
        });
        self.stage.tick();
        let loaded = matches!(
            stage,
            Stage::WarmingUp { .. } | Stage::Measuring { .. } | Stage::Draining | Stage::Storing
        );
        if let Some((heading, rows)) = self.rows.split_first()
            && loaded
        {
            heading.set_message(cells([
                "workload",
                "sent",
                "completed",
                "failed",
                "late",
                "dropped",
                "in flight",
                "recent",
            ]));
            for (row, (name, progress)) in rows.iter().zip(live.workloads()) {
                row.set_message(figures(name, progress));
            }
        }
    }

    fn clear(&self) {
        self.rows
            .iter()
            .chain([&self.stage])
            .for_each(ProgressBar::finish_and_clear);
        // What cannot be cleared stays on the screen, which harms nobody.
        let _ = self.screen.clear();
    }
}

fn bar(name: &str, begin_ns: u64, end_ns: u64) -> String {
    const WIDTH: u64 = 32;
    let whole = end_ns.saturating_sub(begin_ns);
    let elapsed = boot_ns().saturating_sub(begin_ns).min(whole);
    let filled = (elapsed.saturating_mul(WIDTH) / whole.max(1)) as usize;
    let (done, left) = ("=".repeat(filled), " ".repeat(WIDTH as usize - filled));
    format!(
        "{name:11} [{done}{left}] {} of {}",
        seconds(elapsed),
        seconds(whole)
    )
}

fn figures(name: &str, progress: &Progress) -> String {
    let recent = match progress.response_ns() {
        0 => "–".to_owned(),
        ns => with_unit(ns as f64 / 1e6, "ms"),
    };
    cells([
        &printable(name),
        &count(progress.sent()),
        &count(progress.completed()),
        &count(progress.failed()),
        &count(progress.late()),
        &count(progress.dropped()),
        &count(progress.in_flight()),
        &recent,
    ])
}

/// A row that fits into 80 columns as long as the figures are below ten millions.
fn cells(
    [
        name,
        sent,
        completed,
        failed,
        late,
        dropped,
        in_flight,
        recent,
    ]: [&str; 8],
) -> String {
    let name: String = name.chars().take(12).collect();
    format!(
        "{name:12}{sent:>10}{completed:>10}{failed:>8}{late:>8}{dropped:>8}{in_flight:>10}{recent:>10}"
    )
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; the default shows the same figures.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn seconds(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match seconds {
        _ if seconds < 10.0 && seconds.fract() > 0.05 => format!("{seconds:.1} s"),
        _ if seconds < 120.0 => format!("{seconds:.0} s"),
        _ => format!(
            "{:.0} min {:02.0} s",
            (seconds / 60.0).floor(),
            seconds % 60.0
        ),
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn a_row_fits_into_eighty_columns() {
        let row = cells([
            "a-service-with-a-long-name#2",
            "9,999,999",
            "9,999,999",
            "99,999",
            "99,999",
            "99,999",
            "99,999",
            "12,345\u{a0}ms",
        ]);
        assert!(row.width() + 2 < 80, "{}", row.width());
        assert!(row.starts_with("a-service-wi "), "{row}");
    }

    #[test]
    fn stages_are_told_in_words() {
        let measuring = Stage::Measuring {
            begin_ns: 0,
            end_ns: Some(20_000_000_000),
        };
        assert_eq!(told(&measuring).as_deref(), Some("measuring for 20 s"));
        assert_eq!(told(&Stage::Done), None);
    }
}
