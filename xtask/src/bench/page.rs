//! The tables of `cargo xtask bench probes`, as docs/measurements.md has them.

use serde::{Deserialize, Serialize};

use super::samples::Share;

/// A row of all tables. Its fields are those of `--output json`.
#[derive(Serialize)]
pub(super) struct Measured {
    /// Its name on the command line.
    pub row: String,
    /// Its name in the tables.
    pub title: String,
    pub recall: Option<Recall>,
    pub kept: Option<Kept>,
    /// Empty if nothing was sampled.
    pub samples: Vec<Share>,
}

/// What was seen of all that nginx counted.
#[derive(Serialize)]
pub(super) struct Recall {
    /// Requests a second with all features on.
    pub watched_per_second: f64,
    #[serde(flatten)]
    pub seen: Seen,
}

/// Counts from before a load until after it.
#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    /// Requests, by nginx.
    pub counted: u64,
    /// Exchanges in the role of a server, and of a client.
    server: u64,
    client: u64,
    /// All kinds of losses together, on the whole machine, and exchanges that found the ring full among them.
    lost: u64,
    ring_full: u64,
    /// Requests, in both roles, whose connection ended before the answer began.
    closed_without_answer: u64,
}

/// What was kept of the throughput.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// Turns of all states.
    rounds: u64,
    /// Requests a second with nothing attached.
    without_per_second: f64,
    /// With empty programs, of that with nothing.
    floor: Ratio,
    sets: Vec<Features>,
    /// The features that were on while runs were counted.
    programs_of: String,
    programs: Vec<Program>,
}

/// One set of features.
#[derive(Serialize, Deserialize)]
struct Features {
    features: String,
    /// Of the throughput with nothing attached.
    kept: Ratio,
    /// Of that with empty programs.
    of_floor: Ratio,
}

/// A ratio of throughputs and its 95 % interval.
#[derive(Serialize, Deserialize)]
struct Ratio {
    ratio: f64,
    low: f64,
    high: f64,
}

/// Runs of a program.
#[derive(Serialize, Deserialize)]
struct Program {
    name: String,
    runs_per_request: f64,
    ns_per_run: f64,
}

impl Ratio {
    fn text(&self) -> String {
        format!("{:.3} [{:.3}–{:.3}]", self.ratio, self.low, self.high)
    }

    /// Nanoseconds that a request takes longer, on a server that does nothing else.
    fn added_ns(&self, without_per_second: f64) -> f64 {
        1e9 / (without_per_second * self.ratio) - 1e9 / without_per_second
    }
}

/// All tables; one of which nothing was measured is left out.
pub(super) fn markdown(rows: &[Measured]) -> String {
    let tables = [recall(rows), kept(rows), programs(rows), samples(rows)];
    let full: Vec<_> = tables.into_iter().flatten().collect();
    full.join("\n")
}

fn recall(rows: &[Measured]) -> Option<String> {
    let lines = rows.iter().filter_map(|row| {
        let Recall {
            watched_per_second,
            seen,
        } = row.recall.as_ref()?;
        Some(vec![
            row.title.clone(),
            format!("{watched_per_second:.0}"),
            seen.counted.to_string(),
            seen.server.to_string(),
            part(seen.server, seen.counted),
            seen.client.to_string(),
            part(seen.client, seen.counted),
            seen.lost.to_string(),
            seen.closed_without_answer.to_string(),
        ])
    });
    let columns = [
        "load",
        "req/s watched",
        "counted by nginx",
        "seen as server",
        "recall",
        "seen as client",
        "recall",
        "lost",
        "closed without answer",
    ];
    table(&columns, &lines.collect::<Vec<_>>())
}

/// To four places, never rounded up: 1.0000 means that nothing is missing, or next to nothing.
fn part(seen: u64, counted: u64) -> String {
    format!("{:.4}", (seen as f64 / counted as f64 * 1e4).floor() / 1e4)
}

fn kept(rows: &[Measured]) -> Option<String> {
    let lines = rows.iter().filter_map(|row| {
        let kept = row.kept.as_ref()?;
        let without = kept.without_per_second;
        Some(kept.sets.iter().map(move |set| {
            vec![
                row.title.clone(),
                set.features.clone(),
                format!("{without:.0}"),
                kept.floor.text(),
                set.kept.text(),
                set.of_floor.text(),
                format!("{:.0}", kept.floor.added_ns(without)),
                format!("{:.0}", set.kept.added_ns(without)),
                kept.rounds.to_string(),
            ]
        }))
    });
    let columns = [
        "load",
        "features",
        "req/s unwatched",
        "empty programs keep [95 %]",
        "probes keep [95 %]",
        "of what empty ones keep [95 %]",
        "ns added by empty ones",
        "ns added by probes",
        "rounds",
    ];
    table(&columns, &lines.flatten().collect::<Vec<_>>())
}

/// A column for each program that ran at least once in a hundred requests of some row.
fn programs(rows: &[Measured]) -> Option<String> {
    let measured: Vec<(&Measured, &Kept)> = rows
        .iter()
        .filter_map(|row| Some((row, row.kept.as_ref()?)))
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for program in measured.iter().flat_map(|(_, kept)| &kept.programs) {
        if program.runs_per_request >= 0.01 && !names.contains(&program.name.as_str()) {
            names.push(&program.name);
        }
    }
    names.sort_unstable();
    let lines = measured.iter().map(|(row, kept)| {
        let cells = names.iter().map(|name| {
            let found = kept.programs.iter().find(|program| program.name == *name);
            found.map_or_else(
                || "–".to_owned(),
                |one| format!("{:.2} × {:.0}", one.runs_per_request, one.ns_per_run),
            )
        });
        let total: f64 = kept
            .programs
            .iter()
            .map(|program| program.runs_per_request * program.ns_per_run)
            .sum();
        [row.title.clone(), kept.programs_of.clone()]
            .into_iter()
            .chain(cells)
            .chain([format!("{total:.0}")])
            .collect()
    });
    let columns: Vec<&str> = ["runs per request × ns", "features"]
        .into_iter()
        .chain(names.iter().copied())
        .chain(["together, ns"])
        .collect();
    table(&columns, &lines.collect::<Vec<_>>())
}

/// Shares of less than this many nanoseconds are added up.
const SMALL_NS: f64 = 5.0;

/// What the probes take of a request's time on each CPU.
fn samples(rows: &[Measured]) -> Option<String> {
    let mut lines = Vec::new();
    for row in rows {
        let mut cpus: Vec<u32> = row.samples.iter().map(|share| share.cpu).collect();
        cpus.dedup();
        for cpu in cpus {
            let of_cpu = row.samples.iter().filter(|share| share.cpu == cpu);
            let line = |what: &str, ns: f64| {
                vec![
                    row.title.clone(),
                    cpu.to_string(),
                    what.to_owned(),
                    format!("{ns:.0}"),
                ]
            };
            let (mut small, mut all) = (0.0, 0.0);
            for share in of_cpu {
                all += share.ns;
                if share.ns < SMALL_NS {
                    small += share.ns;
                } else {
                    lines.push(line(&share.what(), share.ns));
                }
            }
            lines.push(line("all else", small));
            lines.push(line("**together**", all));
        }
    }
    let columns = ["load", "CPU", "what", "ns a request"];
    table(&columns, &lines)
}

/// A table in Markdown; none if it has no lines.
fn table(columns: &[&str], lines: &[Vec<String>]) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let rule = vec!["---"; columns.len()].join("|");
    let begin = format!("| {} |\n|{rule}|\n", columns.join(" | "));
    let lines = lines
        .iter()
        .map(|cells| format!("| {} |\n", cells.join(" | ")));
    Some(begin + &lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = r#"{"rounds": 9, "without_per_second": 100000.0,
        "floor": {"ratio": 0.97, "low": 0.96, "high": 0.98},
        "sets": [{"features": "network", "kept": {"ratio": 0.8, "low": 0.79, "high": 0.81},
                  "of_floor": {"ratio": 0.825, "low": 0.82, "high": 0.83}}],
        "programs_of": "network",
        "programs": [{"name": "ingress", "runs_per_request": 2.0, "ns_per_run": 400.4},
                     {"name": "seldom", "runs_per_request": 0.001, "ns_per_run": 9.0}]}"#;

    fn row(recall: Option<Recall>, kept: Option<Kept>) -> Measured {
        Measured {
            row: "keep-alive".to_owned(),
            title: "keep-alive, 12 B".to_owned(),
            recall,
            kept,
            samples: Vec::new(),
        }
    }

    #[test]
    fn a_recall_with_one_exchange_missing_is_not_rounded_to_one() {
        assert_eq!(part(540_069, 540_069), "1.0000");
        assert_eq!(part(540_068, 540_069), "0.9999");
    }

    #[test]
    fn what_was_not_measured_has_no_table() {
        assert_eq!(markdown(&[row(None, None)]), "");
    }

    #[test]
    fn floor_probes_and_their_ratio_stand_side_by_side() {
        let kept = serde_json::from_str(KEPT).unwrap();

        let text = markdown(&[row(None, Some(kept))]);

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| keep-alive, 12 B | network | 100000 | 0.970 [0.960–0.980] | 0.800 [0.790–0.810] | 0.825 [0.820–0.830] \
             | 309 | 2500 | 9 |"
        );
        assert_eq!(
            lines[4..],
            [
                "| runs per request × ns | features | ingress | together, ns |",
                "|---|---|---|---|",
                "| keep-alive, 12 B | network | 2.00 × 400 | 801 |",
            ]
        );
    }

    #[test]
    fn shares_of_a_cpu_add_up_and_the_small_ones_stand_together() {
        let share = |cpu, called: &str, ns| Share {
            cpu,
            program: "egress".to_owned(),
            called: called.to_owned(),
            ns,
        };
        let mut row = row(None, None);
        row.samples = vec![
            share(0, "", 281.4),
            share(0, "bpf_skb_load_bytes", 4.4),
            share(1, "bpf_sk_storage_get", 60.0),
        ];

        let text = markdown(&[row]);

        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| keep-alive, 12 B | 0 | egress | 281 |",
                "| keep-alive, 12 B | 0 | all else | 4 |",
                "| keep-alive, 12 B | 0 | **together** | 286 |",
                "| keep-alive, 12 B | 1 | egress: bpf_sk_storage_get | 60 |",
                "| keep-alive, 12 B | 1 | all else | 0 |",
                "| keep-alive, 12 B | 1 | **together** | 60 |",
            ]
        );
    }
}
