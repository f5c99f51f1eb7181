//! What is wrong with an experiment file, told as rustc would: where, what, and the line with a mark under it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::secret::MASK;

/// Problems that are printed of one file; what is beyond is counted.
const SHOWN: usize = 20;
/// Characters of a source line that are printed.
const WIDTH: usize = 100;

/// Why an experiment file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too large to be an experiment file.
    #[error("{} is larger than 1 MiB, the limit of an experiment file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else than text.
    #[error("{}:{line}: not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Line of the first byte that is none, from 1.
        line: usize,
    },
    /// The path of its folder cannot be passed to programs.
    #[error("{}: programs of this file count from its folder, whose path is not UTF-8", path.display())]
    FolderNotText {
        /// The file.
        path: PathBuf,
    },
    /// It can be read and is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

impl FileError {
    /// The single problems, if the file could be read as text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => &problems.list,
            _ => &[],
        }
    }
}

/// One thing that is wrong in an experiment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do, on one line.
    pub message: String,
    /// The source line and a mark under the place; values that may be secret are masked.
    snippet: String,
}

/// All that is wrong in an experiment file, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    list: Vec<Problem>,
}

/// A problem before it is put into words: a place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub span: Range<usize>,
    pub message: String,
}

impl Problems {
    /// `hidden`: parts of the text that are not to be printed.
    pub(super) fn new(
        path: PathBuf,
        text: &str,
        mut findings: Vec<Finding>,
        hidden: &[Range<usize>],
    ) -> Self {
        findings.sort_by_key(|finding| finding.span.start);
        findings.dedup();
        let list = findings
            .iter()
            .map(|finding| Problem::new(text, finding, hidden))
            .collect();
        Self { path, list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Problem {
                line,
                column,
                message,
                snippet,
            } = problem;
            write!(
                f,
                "{}:{line}:{column}: {message}\n{snippet}",
                self.path.display()
            )?;
        }
        match self.list.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.path.display()),
        }
    }
}

impl Problem {
    fn new(text: &str, finding: &Finding, hidden: &[Range<usize>]) -> Self {
        let at = floor(text, finding.span.start);
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[at..]
            .find('\n')
            .map_or(text.len(), |newline| at + newline);
        let line = text[..at].matches('\n').count() + 1;
        let column = text[line_start..at].chars().count() + 1;
        let end = floor(text, finding.span.end).clamp(at, line_end);
        let shown = Shown::new(text, line_start..line_end, at..end, hidden);
        Self {
            line,
            column,
            message: printable(&finding.message),
            snippet: shown.snippet(line),
        }
    }
}

/// A message names what stands in the file, which may be long or hold what a terminal would act on.
fn printable(message: &str) -> String {
    const LONGEST: usize = 400;
    let safe = |c: char| {
        if c.is_control() || is_formatting(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let mut text: String = message.chars().take(LONGEST).map(safe).collect();
    if message.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The part of a line around a place that can come to be shown, so that a file of one long line costs no more than others.
fn near(source: &str, line: &Range<usize>, at: usize) -> Range<usize> {
    const REACH: usize = 16 * WIDTH;
    let start = floor(source, at.saturating_sub(REACH)).max(line.start);
    start..floor(source, at + REACH).min(line.end)
}

/// A source line as it is printed. What is hidden and characters that a terminal would act on are replaced, so the
/// mark's place is counted in what is shown, not in the source.
struct Shown {
    text: Vec<char>,
    mark: Range<usize>,
}

impl Shown {
    fn new(source: &str, line: Range<usize>, mark: Range<usize>, hidden: &[Range<usize>]) -> Self {
        let mut text: Vec<char> = Vec::new();
        let (mut start, mut end) = (None, None);
        let line = near(source, &line, mark.start);
        let hidden: Vec<_> = hidden
            .iter()
            .filter(|range| range.start < line.end && range.end > line.start)
            .collect();
        let mut in_hidden = false;
        for (offset, c) in source[line.clone()]
            .char_indices()
            .map(|(offset, c)| (line.start + offset, c))
        {
            if offset >= mark.start {
                start.get_or_insert(text.len());
            }
            if offset >= mark.end {
                end.get_or_insert(text.len());
            }
            let hide = hidden.iter().any(|range| range.contains(&offset));
            if hide && !in_hidden {
                text.extend(MASK.chars());
            } else if !hide {
                text.push(if c == '\t' { ' ' } else { c });
            }
            in_hidden = hide;
        }
        while text.last().is_some_and(|c| c.is_whitespace()) {
            text.pop();
        }
        for c in &mut text {
            if c.is_control() || is_formatting(*c) {
                *c = char::REPLACEMENT_CHARACTER;
            }
        }
        let length = text.len();
        let start = start.unwrap_or(length).min(length);
        let end = end.unwrap_or(length).min(length).max(start + 1);
        Self {
            text,
            mark: start..end,
        }
        .cut()
    }

    /// Leaves [`WIDTH`] characters around the mark.
    fn cut(mut self) -> Self {
        if self.text.len() > WIDTH {
            let from = self
                .mark
                .start
                .saturating_sub(WIDTH / 2)
                .min(self.text.len() - WIDTH);
            let mut text = self.text[from..from + WIDTH].to_vec();
            if from > 0 {
                text[0] = '…';
            }
            if from + WIDTH < self.text.len() {
                text[WIDTH - 1] = '…';
            }
            let end = (self.mark.end - from).min(WIDTH);
            self.mark = self.mark.start - from..end.max(self.mark.start - from + 1);
            self.text = text;
        }
        self
    }

    fn snippet(&self, line: usize) -> String {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let text: String = self.text.iter().collect();
        let blank = " ".repeat(self.mark.start);
        let mark = "^".repeat(self.mark.len());
        format!("{gutter} |\n{number} | {text}\n{gutter} | {blank}{mark}")
    }
}

/// Characters without a width that change how a terminal orders or joins what is around them.
fn is_formatting(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, span: Range<usize>) -> String {
        problem_hiding(text, span, 0..0)
    }

    fn problem_hiding(text: &str, span: Range<usize>, hidden: Range<usize>) -> String {
        let finding = Finding {
            span,
            message: "wrong".into(),
        };
        Problems::new(
            "f.yaml".into(),
            text,
            vec![finding],
            std::slice::from_ref(&hidden),
        )
        .to_string()
    }

    #[test]
    fn the_mark_stands_under_the_place() {
        assert_eq!(
            problem("a: 1\n  bcd: 2\n", 7..10),
            "f.yaml:2:3: wrong\n  |\n2 |   bcd: 2\n  |   ^^^"
        );
    }

    #[test]
    fn columns_count_characters_and_tabs_take_one() {
        assert_eq!(
            problem("é\tx", 3..4),
            "f.yaml:1:3: wrong\n  |\n1 | é x\n  |   ^"
        );
    }

    #[test]
    fn a_place_of_several_lines_is_marked_to_the_end_of_its_first() {
        assert_eq!(
            problem("ab: [1,\n 2]", 4..11),
            "f.yaml:1:5: wrong\n  |\n1 | ab: [1,\n  |     ^^^"
        );
    }

    #[test]
    fn the_end_of_the_text_can_be_marked() {
        assert_eq!(
            problem("ab", 2..2),
            "f.yaml:1:3: wrong\n  |\n1 | ab\n  |   ^"
        );
        assert_eq!(problem("", 0..9), "f.yaml:1:1: wrong\n  |\n1 | \n  | ^");
    }

    #[test]
    fn hidden_parts_are_masked_and_the_mark_moves_with_the_text() {
        assert_eq!(
            problem_hiding("k: hunter2hunter2, x: 1", 19..20, 3..17),
            "f.yaml:1:20: wrong\n  |\n1 | k: ***, x: 1\n  |         ^"
        );
        assert_eq!(
            problem_hiding("k: secret", 3..9, 3..9),
            "f.yaml:1:4: wrong\n  |\n1 | k: ***\n  |    ^^^"
        );
    }

    #[test]
    fn what_a_terminal_would_act_on_is_replaced() {
        let shown = problem("a\u{1b}[2Jb\u{202e}c", 0..1);
        assert_eq!(
            shown,
            "f.yaml:1:1: wrong\n  |\n1 | a\u{fffd}[2Jb\u{fffd}c\n  | ^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let shown = problem(&text, 300..301);
        let lines: Vec<&str> = shown.lines().collect();
        let source: Vec<char> = lines[2].chars().skip("1 | ".len()).collect();
        assert_eq!(source.len(), WIDTH);
        assert_eq!((source[0], source[WIDTH - 1]), ('…', '…'));
        assert_eq!(
            lines[3].chars().position(|c| c == '^'),
            Some("1 | ".len() + WIDTH / 2)
        );
        assert_eq!(source[WIDTH / 2], 'X');
    }

    #[test]
    fn problems_beyond_the_twentieth_are_counted() {
        let text = "x\n".repeat(30);
        let findings = (0..30)
            .map(|n| Finding {
                span: 2 * n..2 * n + 1,
                message: format!("no {n}"),
            })
            .collect();
        let problems = Problems::new("f.yaml".into(), &text, findings, &[]);
        assert_eq!(problems.list.len(), 30);
        assert!(problems.to_string().ends_with("\nf.yaml: and 10 more"));
    }
}
