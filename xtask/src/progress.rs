//! How far a long task is: on a terminal a line that is drawn anew each second, elsewhere a line for each step.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::process;

/// How often the line is drawn.
const DRAW: Duration = Duration::from_secs(1);
/// Characters of the bar, and of the whole line: a terminal has 80.
const BAR: usize = 20;
const LINE: usize = 79;

/// The line; it goes when this is dropped.
pub(crate) struct Progress {
    drawing: Option<(Sender<String>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins, for a task that takes about so long.
    pub(crate) fn start(expected: Duration) -> Self {
        let drawing = std::io::stderr().is_terminal().then(|| {
            let (steps, next) = channel::<String>();
            let begin = Instant::now();
            let draw = move || {
                let mut step = String::new();
                loop {
                    match next.recv_timeout(DRAW) {
                        Ok(name) => step = name,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break write("\r\x1b[2K"),
                    }
                    write(&format!(
                        "\r\x1b[2K{}",
                        line(begin.elapsed(), expected, &step)
                    ));
                }
            };
            (steps, thread::spawn(draw))
        });
        Self { drawing }
    }

    /// Tells what is done from now on.
    pub(crate) fn step(&self, name: &str) {
        match &self.drawing {
            // The thread that draws ends after this only.
            Some((steps, _)) => drop(steps.send(name.to_owned())),
            None => process::announce(name),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((steps, thread)) = self.drawing.take() {
            drop(steps);
            // What is not drawn any more harms nobody.
            let _ = thread.join();
        }
    }
}

/// A terminal that is gone is no reason to stop.
fn write(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = terminal
        .write_all(text.as_bytes())
        .and_then(|()| terminal.flush());
}

/// `[#####---------------]  1:30 of about 6:00  what is done`.
fn line(elapsed: Duration, expected: Duration, step: &str) -> String {
    let done = elapsed.as_secs_f64() / expected.as_secs_f64().max(1.0);
    let filled = ((done * BAR as f64) as usize).min(BAR);
    let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
    let whole = format!(
        "[{}{}] {:>5} of about {}  {step}",
        "#".repeat(filled),
        "-".repeat(BAR - filled),
        clock(elapsed),
        clock(expected),
    );
    whole.chars().take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_how_much_of_the_time_has_passed_and_never_more_than_all() {
        let at = |seconds| {
            line(
                Duration::from_secs(seconds),
                Duration::from_secs(360),
                "counting",
            )
        };

        assert_eq!(
            at(90),
            "[#####---------------]  1:30 of about 6:00  counting"
        );
        assert_eq!(
            at(400),
            "[####################]  6:40 of about 6:00  counting"
        );
    }

    #[test]
    fn the_line_fits_a_terminal() {
        let long = line(Duration::ZERO, Duration::ZERO, &"ö".repeat(100));

        assert_eq!(long.chars().count(), LINE);
    }
}
