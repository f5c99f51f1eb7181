//! The sum of libtest's result lines, and which tests were skipped: libtest counts those as passed.

use std::fmt;

/// How many tests ended how, over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The tests and the reasons, as [`galileo_skips::skip`] tells them.
    skipped: Vec<String>,
}

impl Tally {
    /// Adds `line` if it is the result of a test program, `test result: ok. 3 passed; 0 failed; 1 ignored; …`, or tells of
    /// a skip.
    pub(crate) fn count(&mut self, line: &str) {
        if let Some(skip) = line.strip_prefix(galileo_skips::MARK) {
            self.skipped.push(skip.trim_end().to_owned());
            return;
        }
        let Some(results) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = results
            .split_once(". ")
            .map_or(results, |(_verdict, counts)| counts);
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// The tests that were skipped, each with its reason.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            ignored,
            skipped,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed, {ignored} ignored, {} skipped",
            skipped.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_are_summed() {
        let mut tally = Tally::default();

        tally.count("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n");
        tally.count("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n");

        assert_eq!(
            tally,
            Tally {
                passed: 7,
                failed: 2,
                ignored: 1,
                skipped: Vec::new()
            }
        );
    }

    #[test]
    fn a_skip_is_counted_and_named_beside_what_passed() {
        let mut tally = Tally::default();

        tally.count("skipped: cpu::closes: no permission\n");
        tally.count("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured;\n");

        assert_eq!(
            tally.to_string(),
            "1 passed, 0 failed, 0 ignored, 1 skipped"
        );
        assert_eq!(tally.skipped(), ["cpu::closes: no permission"]);
    }

    #[test]
    fn a_line_that_only_mentions_results_is_not_counted() {
        let mut tally = Tally::default();

        tally.count("the test result: ok. 3 passed;");
        tally.count("test a_name ... ok");

        assert_eq!(tally, Tally::default());
    }
}
