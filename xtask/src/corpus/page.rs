//! docs/conformance.md.

use std::fmt::Write;

use super::case::Case;
use super::cases::CASES;
use super::client::Client;
use super::exceptions::{self, EXCEPTIONS};
use super::judge::Score;
use super::server::Server;
use super::watcher::Role;

/// What became of a cell.
pub(super) enum Outcome {
    /// It was done and judged.
    Judged(Score),
    /// The client or the server cannot do that.
    Cannot(&'static str),
    /// It was to be done and was not.
    Failed(String),
    /// It was not asked for.
    LeftOut,
}

/// A cell of the table.
pub(super) struct Cell {
    pub server: Server,
    pub client: Client,
    pub case: &'static Case,
    pub outcome: Outcome,
}

impl Cell {
    /// Whether it lets the whole run fail.
    pub(super) fn is_bad(&self) -> bool {
        match &self.outcome {
            Outcome::Judged(score) => {
                !score.is_perfect()
                    && !exceptions::excuse(self.server, self.client, self.case.name, score)
            }
            Outcome::Failed(_) => true,
            Outcome::Cannot(_) | Outcome::LeftOut => false,
        }
    }
}

/// All that the page tells.
pub(super) struct Page {
    /// Name and version of each server, or why it is left out.
    pub servers: Vec<(Server, String)>,
    pub cells: Vec<Cell>,
    /// What the machine lacks, with what is left out for that.
    pub absent: Vec<String>,
    pub kernel: String,
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

impl Page {
    /// Writes it.
    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "# Conformance\n\n\
             What the probes see of real servers and real clients, held against what the clients say they did, request by request.\n\
             `cargo xtask corpus` (as root) measures this again and writes this page; `--servers`, `--clients` and `--cases` choose a part.\n\n\
             * **Recall**: of the exchanges that were, the part that the probes told. **Precision**: of the exchanges that the probes told, the part that\n\
             \x20 was, once, with the right method, path, status, id, traceparent, number of interim answers, bytes of request and answer (where the\n\
             \x20 client knows them), cgroup, addresses and order of times, and not marked as out of order unless TCP had to put\n\
             \x20 segments into order. The first figure of a pair is the server's side, the second the client's.\n\
             * The truth is what the client did and got, counted in bytes on its own sockets; the server's own log must know each request with the same\n\
             \x20 status, and counters of the kernel's TCP must show that what the case is about happened, or the cell counts as failed.\n\
             * Servers and clients run in cgroups of their own in a network namespace, on loopback. nginx and Apache pass some paths on to the asyncio\n\
             \x20 server, HAProxy most. Each end of a connection is looked at for itself (`Config::each_end`).\n\
             * A cell shows the number of exchanges if recall and precision are 1.0000 in both roles, else all four. A number in parentheses says why\n\
             \x20 there are none.\n\n",
        );
        let _ = writeln!(text, "Measured on Linux {}.\n", self.kernel);
        self.summary(&mut text);
        self.exceptions(&mut text);
        for (server, version) in &self.servers {
            self.table(&mut text, *server, version);
        }
        text.push_str("\n## Cases\n\n| case | what is special |\n|---|---|\n");
        for case in CASES {
            let _ = writeln!(text, "| {} | {} |", case.name, case.about);
        }
        text.push_str("\n## Clients\n\n| client | what it is |\n|---|---|\n");
        for client in Client::ALL {
            let _ = writeln!(text, "| {} | {} |", client.name(), client.about());
        }
        text.push_str(
            "\nNone of these servers, as Debian builds it, sends by io_uring. The probes look at packets, so it makes no difference to them which\n\
             call gave the kernel its bytes; a test of its own sends requests and answers by io_uring's write, send and send without a copy, by\n\
             the task itself and by a worker of the kernel's (tests/tests/probes/uring.rs).\n",
        );
        text
    }

    /// Sums by server, client and case.
    fn summary(&self, text: &mut String) {
        text.push_str("## Sums\n\n| | exchanges | recall | precision | cells | not perfect |\n|---|---|---|---|---|---|\n");
        let mut row = |name: &str, is_in: &dyn Fn(&Cell) -> bool| {
            let (mut sum, mut cells, mut bad) = (Score::default(), 0, 0);
            for cell in self.cells.iter().filter(|cell| is_in(cell)) {
                match &cell.outcome {
                    Outcome::Judged(score) => {
                        sum.add(score);
                        bad += u64::from(!score.is_perfect());
                    }
                    Outcome::Failed(_) => bad += 1,
                    Outcome::Cannot(_) | Outcome::LeftOut => continue,
                }
                cells += 1;
            }
            if cells > 0 {
                let _ = writeln!(
                    text,
                    "| {name} | {} | {} | {} | {cells} | {bad} |",
                    sum.wanted,
                    pair(|role| sum.recall(role)),
                    pair(|role| sum.precision(role)),
                );
            }
        };
        row("**all**", &|_| true);
        for server in Server::ALL {
            row(&format!("server {}", server.name()), &|cell| {
                cell.server == server
            });
        }
        for client in Client::ALL {
            row(&format!("client {}", client.name()), &|cell| {
                cell.client == client
            });
        }
        for case in CASES {
            row(&format!("case {}", case.name), &|cell| {
                cell.case.name == case.name
            });
        }
        text.push('\n');
    }

    fn exceptions(&self, text: &mut String) {
        text.push_str("## Exceptions\n\n");
        text.push_str(
            "Every cell that is not perfect makes the command fail, but for these, in which only so much of the recall may be missing, and\n\
             nothing of the precision:\n\n\
             | server | client | case | least recall | reason |\n|---|---|---|---|---|\n",
        );
        for one in EXCEPTIONS {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                one.server.map_or("all", Server::name),
                one.client.map_or("all", Client::name),
                one.case,
                one.least_recall,
                one.reason
            );
        }
        text.push('\n');
        for line in &self.absent {
            let _ = writeln!(text, "* Left out: {line}");
        }
        if !self.absent.is_empty() {
            text.push('\n');
        }
    }

    /// The cells of one server.
    fn table(&self, text: &mut String, server: Server, version: &str) {
        let mut reasons: Vec<&str> = Vec::new();
        let mut rows = String::new();
        for case in CASES {
            let cells: Vec<_> = self
                .cells
                .iter()
                .filter(|cell| cell.server == server && cell.case.name == case.name)
                .collect();
            if cells.is_empty() {
                continue;
            }
            let _ = write!(rows, "| {} |", case.name);
            for client in Client::ALL {
                let cell = cells.iter().find(|cell| cell.client == client);
                let shown = match cell.map(|cell| &cell.outcome) {
                    Some(Outcome::Judged(score)) => figures(score),
                    Some(Outcome::Failed(_)) => "failed".to_owned(),
                    Some(Outcome::Cannot(reason)) => {
                        let known = reasons.iter().position(|one| one == reason);
                        let index = known.unwrap_or_else(|| {
                            reasons.push(reason);
                            reasons.len() - 1
                        });
                        format!("– ({})", index + 1)
                    }
                    Some(Outcome::LeftOut) | None => String::new(),
                };
                let _ = write!(rows, " {shown} |");
            }
            rows.push('\n');
        }
        let _ = writeln!(text, "\n## {}\n\n{version}\n", server.name());
        if rows.is_empty() {
            return;
        }
        text.push_str("| case |");
        for client in Client::ALL {
            let _ = write!(text, " {} |", client.name());
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(Client::ALL.len()));
        text.push_str(&rows);
        text.push('\n');
        for (index, reason) in reasons.iter().enumerate() {
            let _ = writeln!(text, "{}. {reason}", index + 1);
        }
        for cell in self.cells.iter().filter(|cell| cell.server == server) {
            if let Outcome::Failed(why) = &cell.outcome {
                let _ = writeln!(
                    text,
                    "* {} with {} failed: {why}",
                    cell.case.name,
                    cell.client.name()
                );
            }
        }
    }
}

/// What a cell shows.
fn figures(score: &Score) -> String {
    if score.is_perfect() {
        return score.wanted.to_string();
    }
    format!(
        "**{}: recall {}, precision {}**",
        score.wanted,
        pair(|role| score.recall(role)),
        pair(|role| score.precision(role))
    )
}

/// A figure for both roles; a part is never rounded up to the whole.
fn pair(figure: impl Fn(Role) -> f64) -> String {
    let [server, client] = ROLES.map(|role| {
        let value = figure(role);
        let shown = if value < 1.0 {
            (value * 1e4).floor() / 1e4
        } else {
            value
        };
        format!("{shown:.4}")
    });
    format!("{server} {client}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(outcome: Outcome) -> String {
        let cell = Cell {
            server: Server::Nginx,
            client: Client::Curl,
            case: &CASES[0],
            outcome,
        };
        Page {
            servers: vec![(Server::Nginx, "nginx/1".to_owned())],
            cells: vec![cell],
            absent: vec!["Go".to_owned()],
            kernel: "6".to_owned(),
        }
        .text()
    }

    #[test]
    fn what_is_not_whole_is_never_rounded_to_one() {
        let score = Score {
            wanted: 1_000_000,
            found: [999_999, 1_000_000],
            ..Score::default()
        };

        let text = page(Outcome::Judged(score));

        assert!(text.contains("recall 0.9999 1.0000"), "{text}");
    }

    #[test]
    fn a_cell_that_nobody_can_do_has_its_reason_below() {
        let text = page(Outcome::Cannot("it has no way"));

        assert!(text.contains("| keep-alive | – (1) |"), "{text}");
        assert!(text.contains("\n1. it has no way\n"), "{text}");
    }

    #[test]
    fn what_the_machine_lacks_is_told() {
        assert!(page(Outcome::LeftOut).contains("Left out: Go"));
    }
}
