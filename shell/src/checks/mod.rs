//! What works on this machine, found out by trying.
//!
//! Reading order: this file (what comes out), [`machine`] (kernel, CPUs, /proc), [`probes`], [`cgroups`], [`storage`].

mod cgroups;
mod machine;
mod probes;
mod storage;

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Exit;
use crate::text::wrap;

/// What the checks need to know.
pub struct Surroundings {
    /// The experiment database.
    pub database: PathBuf,
    /// Where the cgroups of runs are to be, if not in the default place.
    pub cgroup_parent: Option<PathBuf>,
}

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// All that was found out.
#[derive(Debug, Serialize)]
pub struct Outcome {
    schema: u32,
    /// What it comes to.
    pub verdict: Verdict,
    checks: Vec<Check>,
}

/// What runs can do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Runs work, and all can be seen.
    Full,
    /// Runs work; something cannot be seen or limited.
    Reduced,
    /// No run works.
    None,
}

impl Verdict {
    /// How `galileo check` ends.
    pub fn exit(self) -> Exit {
        match self {
            Self::Full => Exit::Success,
            Self::Reduced => Exit::Reservations,
            Self::None => Exit::Failure,
        }
    }
}

/// How one thing does, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should.
    Works,
    /// It lacks, or is worth knowing; runs are what they should be.
    Note,
    /// It lacks, and runs show less.
    Off,
    /// It lacks, and nothing runs.
    Blocks,
}

/// One thing that was tried.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it does.
    pub state: State,
    /// What is there, or what is missing with it.
    pub found: String,
    /// Why it does not work.
    pub why: Option<String>,
    /// What to do. A line that begins with blanks is a command.
    pub remedy: Option<String>,
}

impl Check {
    fn works(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Works,
            found: found.into(),
            why: None,
            remedy: None,
        }
    }

    fn lacks(
        name: &str,
        state: State,
        found: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            state,
            found: found.into(),
            why: Some(why.into()),
            remedy: Some(remedy.into()),
        }
    }
}

/// Tries everything.
pub async fn all(surroundings: &Surroundings) -> anyhow::Result<Outcome> {
    let mut checks = vec![machine::kernel(), machine::cpus(), machine::proc()];
    checks.extend(probes::all());
    checks.extend(cgroups::all(surroundings.cgroup_parent.as_deref()).await?);
    checks.push(storage::database(&surroundings.database).await);
    checks.extend(storage::space(&surroundings.database));
    Ok(Outcome {
        schema: SCHEMA,
        verdict: verdict(&checks),
        checks,
    })
}

fn verdict(checks: &[Check]) -> Verdict {
    match checks.iter().map(|check| check.state).max() {
        None | Some(State::Works | State::Note) => Verdict::Full,
        Some(State::Off) => Verdict::Reduced,
        Some(State::Blocks) => Verdict::None,
    }
}

impl Outcome {
    /// For a terminal.
    pub fn table(&self, width: usize, colour: bool) -> String {
        const STATE: usize = 8;
        const NAME: usize = 16;
        let left = STATE + NAME;
        let mut text = String::new();
        for check in &self.checks {
            let (word, code) = match check.state {
                State::Works => ("ok", "32"),
                State::Note => ("note", "33"),
                State::Off => ("OFF", "1;33"),
                State::Blocks => ("BLOCKS", "1;31"),
            };
            let padding = " ".repeat(STATE - word.len());
            let word = match colour {
                true => format!("\u{1b}[{code}m{word}\u{1b}[0m"),
                false => word.to_owned(),
            };
            let head = format!("{word}{padding}{:NAME$}", check.name);
            let why = check.why.as_ref().map(|why| format!("because {why}"));
            let remedy = check.remedy.as_ref().map(|remedy| format!("→ {remedy}"));
            let lines = [Some(check.found.clone()), why, remedy]
                .into_iter()
                .flatten()
                .flat_map(|part| fitted(&part, width.saturating_sub(left).max(30)));
            for (index, line) in lines.enumerate() {
                let margin = " ".repeat(left);
                text.push_str(if index == 0 { &head } else { &margin });
                text.push_str(&line);
                text.push('\n');
            }
        }
        text.push('\n');
        text.push_str(match self.verdict {
            Verdict::Full => "Runs work here, and all of them can be seen.\n",
            Verdict::Reduced => "Runs work here, with the reservations above.\n",
            Verdict::None => "No run works here until what blocks it is mended.\n",
        });
        text
    }
}

/// Lines of at most `width` columns, but for commands: those are for copying.
fn fitted(text: &str, width: usize) -> Vec<String> {
    let lines = text.lines().flat_map(|line| match line.starts_with(' ') {
        true => vec![line.to_owned()],
        false => wrap(line, width),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: State) -> Check {
        Check {
            name: "thing".to_owned(),
            state,
            found: "found".to_owned(),
            why: None,
            remedy: None,
        }
    }

    #[test]
    fn the_worst_decides() {
        assert_eq!(
            verdict(&[check(State::Works), check(State::Note)]),
            Verdict::Full
        );
        assert_eq!(
            verdict(&[check(State::Off), check(State::Works)]),
            Verdict::Reduced
        );
        assert_eq!(
            verdict(&[check(State::Blocks), check(State::Off)]),
            Verdict::None
        );
    }

    #[test]
    fn what_is_off_says_why_and_what_to_do() {
        let off = Check::lacks(
            "memory limit",
            State::Off,
            "no limit",
            "the controller is off",
            "boot with it",
        );
        let outcome = Outcome {
            schema: SCHEMA,
            verdict: verdict(std::slice::from_ref(&off)),
            checks: vec![off],
        };
        assert_eq!(
            outcome.table(80, false),
            "OFF     memory limit    no limit\n                        because the controller is off\n                        \
             → boot with it\n\nRuns work here, with the reservations above.\n"
        );
    }
}
