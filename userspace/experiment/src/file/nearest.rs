//! "Did you mean": the known word that a mistyped one is nearest to.

/// The candidate that `word` was most likely meant to be, if one is near enough: a third of the letters may be wrong.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let edits = strsim::damerau_levenshtein(&word, &lower);
            let near = edits <= (lower.chars().count() / 3).max(1) || shortens(&word, &lower);
            (near, edits, candidate)
        })
        .filter(|(near, ..)| *near)
        .min_by_key(|(_, edits, _)| *edits)
        .map(|(.., candidate)| candidate)
}

/// Is it the longer word with letters left out, as `cmd` is of `command`?
fn shortens(short: &str, long: &str) -> bool {
    let mut letters = long.chars();
    short.len() > 2
        && short.chars().next() == long.chars().next()
        && short.chars().all(|c| letters.any(|l| l == c))
}

/// `; did you mean 'x'?`, or the list of what there is.
pub(crate) fn hint<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
    known: &str,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("; did you mean '{near}'?");
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.as_slice() {
        [] => format!("; there is no {known}"),
        [one] => format!("; the only {known} is '{one}'"),
        all => format!("; {known}s are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 6] = [
        "command",
        "port",
        "replicas",
        "ready_timeout",
        "env",
        "health",
    ];

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        for (word, meant) in [
            ("replica", "replicas"),
            ("Port", "port"),
            ("prot", "port"),
            ("cmd", "command"),
            ("comand", "command"),
            ("envs", "env"),
            ("readyTimeout", "ready_timeout"),
            ("healthz", "health"),
        ] {
            assert_eq!(nearest(word, KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_word_unlike_all_others_finds_none() {
        for word in ["image", "x", "volumes", "", "ö"] {
            assert_eq!(nearest(word, KEYS), None, "{word}");
        }
    }

    #[test]
    fn without_a_near_word_the_hint_lists_what_there_is() {
        assert_eq!(hint("zzz", ["a1", "b2"], "node"), "; nodes are a1, b2");
        assert_eq!(hint("zzz", ["a1"], "node"), "; the only node is 'a1'");
        assert_eq!(hint("zzz", [], "node"), "; there is no node");
    }
}
