//! The summary that a run ends with in the terminal: what forbids trusting it first, then the four answers.

mod layout;
mod paint;

use galileo_analysis::{Insight, RunResult};
use galileo_wire::Capture;

use crate::answers::Question;
use crate::measuring;
use crate::numbers::{NO_BREAK, with_unit};
use crate::tables::{self, Table};
use layout::{printable, table, wrap};
use paint::Paint;

/// Replicas, pairs and the like that are listed; the page has all.
const MOST_ROWS: usize = 16;
/// Names of tasks that are listed of each kind.
const MOST_NAMES: usize = 3;
/// Victims whose disturbers are listed.
const MOST_VICTIMS: usize = 4;

/// The summary in lines of at most `width` columns, with colours if the caller found them wanted. Text is never set
/// narrower than 40 columns, tables never narrower than their figures, which fit into 80.
///
/// Control characters in names and texts from outside are shown, not sent to the terminal.
#[must_use]
pub fn summary(
    result: &RunResult,
    insight: &Insight,
    capture: &Capture,
    width: usize,
    colour: bool,
) -> String {
    let width = width.max(40);
    let mut page = Page {
        text: String::new(),
        width,
        paint: Paint { colour },
    };
    page.head(result, insight);
    for (number, question) in (1..).zip(Question::ALL) {
        page.blank();
        page.heading(&format!("{number}  {}", question.title()));
        for sentence in question.answer(result, insight) {
            page.paragraph(&sentence);
        }
        for table in tables_of(question, result, insight) {
            page.table(table);
        }
        match question {
            Question::Time => {
                if let Some(flagged) = measuring::flagged(result) {
                    page.paragraph(&flagged);
                }
            }
            Question::Neighbours => {
                if let Some(sentence) = measuring::limits_not_known(result) {
                    page.paragraph(&sentence);
                }
                page.paragraph(&measuring::taken(result, capture));
                let system = tables::system(result, MOST_NAMES);
                if !system.rows.is_empty() {
                    page.table(system);
                }
            }
            Question::Cpu => {
                if let Some(hidden) = measuring::hidden(result) {
                    page.paragraph(&hidden);
                }
            }
            Question::Places => {}
        }
    }
    page.blank();
    page.heading("Do the figures add up?");
    page.ledgers(result);
    if let Some(sentence) = measuring::accounting(result) {
        page.paragraph(&sentence);
    }
    page.paragraph(&measuring::losses(result));
    if let Some(noticed) = measuring::noticed(result) {
        page.paragraph(&noticed);
    }
    page.blank();
    page.heading("What did watching cost?");
    page.paragraph(&measuring::cost(result, insight, capture));
    let besides = [measuring::dearest(result), measuring::memory(result)];
    for sentence in besides.iter().flatten() {
        page.paragraph(sentence);
    }
    page.text
}

fn tables_of(question: Question, result: &RunResult, insight: &Insight) -> Vec<Table> {
    let tables = match question {
        Question::Cpu => vec![tables::usage(result, insight), tables::network(result)],
        Question::Time => vec![tables::times(result), tables::parts(insight)],
        Question::Places => vec![tables::places(insight)],
        Question::Neighbours => vec![
            tables::disturbances(insight, MOST_VICTIMS),
            tables::waits(result),
            tables::cpus(result, MOST_ROWS),
        ],
    };
    tables
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

struct Page {
    text: String,
    width: usize,
    paint: Paint,
}

impl Page {
    fn head(&mut self, result: &RunResult, insight: &Insight) {
        let experiment = &result.experiment;
        let title = printable(&experiment.name);
        for line in wrap(&title, self.width, "") {
            let line = self.paint.bold(&line);
            self.line(&line);
        }
        let mut facts = vec![experiment.id.clone(), experiment.started.clone()];
        facts.extend(
            insight
                .measured_seconds
                .map(|seconds| format!("{} measured", with_unit(seconds, "s"))),
        );
        facts.push(format!("seed {}", experiment.seed));
        self.paragraph(&facts.join(" · "));
        if !result.valid {
            self.blank();
            let verdict = self
                .paint
                .alarm("NOT VALID: these figures are not to be trusted, because");
            self.line(&verdict);
            self.bullets(&result.invalid_reasons);
        }
        if !result.unseen.is_empty() {
            self.blank();
            let verdict = self.paint.warning("NOT SEEN on this machine:");
            self.line(&verdict);
            self.bullets(&result.unseen);
        }
    }

    fn ledgers(&mut self, result: &RunResult) {
        // What two observers agree on is told in one line; a difference, and what had to be allowed for, is told in full.
        let (agreed, told): (Vec<_>, Vec<_>) = result.ledgers.iter().partition(|ledger| {
            ledger.holds && ledger.allowed.is_empty() && ledger.subject.contains('/')
        });
        let agreed = agreed.len();
        for ledger in told {
            let mark = if ledger.holds {
                self.paint.good("ok ")
            } else {
                self.paint.alarm("BAD")
            };
            let equation = printable(&format!("{}: {}", ledger.subject, tables::equation(ledger)));
            for (index, line) in wrap(&equation, self.width - 5, "  ").iter().enumerate() {
                let line = if index == 0 {
                    format!("{mark}  {line}")
                } else {
                    format!("     {line}")
                };
                self.line(&line);
            }
        }
        if agreed > 0 {
            let mark = self.paint.good("ok ");
            let plural = if agreed == 1 { "account" } else { "accounts" };
            self.line(&format!(
                "{mark}  {agreed} {plural} of CPU time and waits agree within 1 % or 5 ms"
            ));
        }
    }

    fn table(&mut self, mut content: Table) {
        self.blank();
        let more = content.rows.len().saturating_sub(MOST_ROWS);
        content.rows.truncate(MOST_ROWS);
        for line in wrap(content.caption, self.width, "") {
            let line = self.paint.dim(&line);
            self.line(&line);
        }
        for (index, line) in table(&content, self.width).into_iter().enumerate() {
            let line = if index == 0 {
                self.paint.underlined(&line)
            } else {
                line
            };
            self.line(&line);
        }
        if more > 0 {
            self.line(&format!("… and {more} more in the report"));
        }
    }

    fn bullets(&mut self, items: &[String]) {
        for item in items {
            for (index, line) in wrap(&printable(item), self.width - 2, "")
                .iter()
                .enumerate()
            {
                let mark = if index == 0 { "- " } else { "  " };
                self.line(&format!("{mark}{line}"));
            }
        }
    }

    fn heading(&mut self, text: &str) {
        let text = self.paint.bold(text);
        self.line(&text);
    }

    fn paragraph(&mut self, text: &str) {
        for line in wrap(&printable(text), self.width, "") {
            self.line(&line);
        }
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn line(&mut self, line: &str) {
        // Where the line breaks is settled, and what gets copied from a terminal had better be plain.
        self.text.push_str(&line.trim_end().replace(NO_BREAK, " "));
        self.text.push('\n');
    }
}
