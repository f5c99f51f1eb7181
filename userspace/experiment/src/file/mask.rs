//! Keeping secrets out of what is shown and stored.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::keys::is_known;
use super::secret::MASK;
use super::tree::{Kind, NodeId, SyntaxError, Tree};
use super::workload::{CREDENTIAL_WORDS as WORDS, is_credential};

/// The text with each of these scalars replaced by `***`, in quotes so that it stays YAML (a bare `*` begins an alias),
/// and so with comments that look like values which were secret once.
pub(super) fn masked(
    text: &str,
    tree: &Tree,
    secrets: &[NodeId],
    areas: &[Range<usize>],
) -> String {
    let mut parts: Vec<(Range<usize>, &str)> = secrets
        .iter()
        .filter_map(|id| match &tree.node(*id).kind {
            Kind::Scalar {
                style: ScalarStyle::Literal | ScalarStyle::Folded,
                ..
            } => {
                // A block scalar reaches to the next token: the blanks at its end belong to the layout.
                let span = tree.node(*id).span.clone();
                let end = span.start + text[span.clone()].trim_end().len();
                (end > span.start).then_some((span.start..end, MASK))
            }
            Kind::Scalar { .. } => Some((tree.node(*id).span.clone(), "'***'")),
            Kind::List(_) | Kind::Map(_) => None,
        })
        .chain(
            secret_comments(text, tree, areas)
                .into_iter()
                .map(|span| (span, "# ***")),
        )
        .collect();
    parts.sort_by_key(|(span, _)| span.start);
    // An alias to a value makes it appear once more with the same place.
    parts.dedup();
    let mut masked = String::with_capacity(text.len());
    let mut copied = 0;
    for (span, mask) in parts {
        masked.push_str(&text[copied..span.start]);
        masked.push_str(mask);
        copied = span.end;
    }
    masked.push_str(&text[copied..]);
    masked
}

/// Comments that may hold a secret: those in one of the areas, and entries on a line with a word that tells of one, with
/// all lines of comment that follow (`# env:`, `#   K: value`).
fn secret_comments(text: &str, tree: &Tree, areas: &[Range<usize>]) -> Vec<Range<usize>> {
    let areas = apart(areas.to_vec());
    let mut secret: Vec<Range<usize>> = Vec::new();
    for comment in comments(text, tree) {
        let is_entry = text[comment.clone()].contains([':', '=']);
        let line = text[..comment.start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let words = text[line..comment.end].to_ascii_lowercase();
        let inside = holds(&areas, comment.start);
        let named = WORDS
            .iter()
            .chain(&["env"])
            .any(|word| words.contains(word));
        let goes_on = secret.last().is_some_and(|last| {
            let between = &text[last.end..comment.start];
            between.trim().is_empty() && between.matches('\n').count() == 1
        });
        if inside || is_entry && named || goes_on {
            secret.push(comment);
        }
    }
    secret
}

/// Where comments stand, from the `#` to the end of the line. They are looked for between the scalars, because the parser
/// tells nothing of those behind an empty block scalar.
fn comments(text: &str, tree: &Tree) -> Vec<Range<usize>> {
    let mut scalars: Vec<_> = tree
        .ids()
        .filter(|id| tree.scalar(*id).is_some())
        .map(|id| tree.node(id).span.clone())
        .collect();
    scalars.sort_by_key(|span| span.start);
    scalars.push(text.len()..text.len());
    let mut comments = Vec::new();
    let mut at = 0;
    for scalar in scalars {
        while let Some(hash) = text.get(at..scalar.start).and_then(|gap| gap.find('#')) {
            let start = at + hash;
            at = start + 1;
            if text[..start].ends_with([' ', '\t', '\n', '\r']) || start == 0 {
                at = text[start..]
                    .find('\n')
                    .map_or(text.len(), |newline| start + newline);
                comments.push(start..start + text[start..at].trim_end().len());
            }
        }
        at = at.max(scalar.end);
    }
    comments
}

/// What may be secret in a file that may be wrong: everything below a key that is `env` or nearly so, and below headers
/// that carry credentials, wherever they stand.
pub(super) fn hidden(text: &str, tree: &Tree) -> Vec<Range<usize>> {
    let mut areas = Vec::new();
    let mut hidden = Vec::new();
    for id in tree.ids() {
        let Kind::Map(entries) = &tree.node(id).kind else {
            continue;
        };
        for (key, value) in entries
            .iter()
            .filter(|(key, _)| tree.scalar(*key).is_some_and(may_hold_secrets))
        {
            areas.push(tree.node(*key).span.end..tree.node(*value).span.end);
            hide_value(text, tree, *key, *value, &mut hidden);
        }
    }
    hidden.extend(secret_comments(text, tree, &areas));
    apart(hidden)
}

/// `hidden` and these entries too, whose keys nobody knows. A key is hidden if a slip may have made it one: `{K:secret}`.
pub(super) fn hidden_with(
    text: &str,
    tree: &Tree,
    mut hidden: Vec<Range<usize>>,
    entries: &[(NodeId, NodeId)],
) -> Vec<Range<usize>> {
    for (key, value) in entries {
        hide_value(text, tree, *key, *value, &mut hidden);
        if !is_name_of(tree, *key, *value) {
            hidden.push(tree.node(*key).span.clone());
        }
    }
    apart(hidden)
}

/// Hides all that stands behind a key and its colon; if that is a mapping, all but the names in it. What is no value is
/// hidden too, for a slip can have made a value an anchor, a key or a comment.
fn hide_value(text: &str, tree: &Tree, key: NodeId, value: NodeId, hidden: &mut Vec<Range<usize>>) {
    let behind_colon = |end: usize| {
        end + text[end..]
            .bytes()
            .take_while(|byte| b": ".contains(byte))
            .count()
    };
    let node = tree.node(value);
    // By an alias the value stands before its key.
    let mut at = behind_colon(tree.node(key).span.end).min(node.span.start);
    if let Kind::Map(entries) = &node.kind {
        for (key, value) in entries {
            hidden.push(tree.node(*value).span.clone());
            let name = tree.node(*key).span.clone();
            if name.start >= at && is_name_of(tree, *key, *value) {
                hidden.push(inner(text, at..name.start));
                at = behind_colon(name.end);
            }
        }
    }
    hidden.push(inner(text, at..node.span.end.max(at)));
}

/// The range without the blanks and the signs of a flow mapping around it.
fn inner(text: &str, range: Range<usize>) -> Range<usize> {
    let outside = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',');
    let part = text[range.clone()].trim_start_matches(outside);
    let start = range.end - part.len();
    start..start + part.trim_end_matches(outside).len()
}

/// Is the key what people name a variable or a header, and has it a value?
fn is_name_of(tree: &Tree, key: NodeId, value: NodeId) -> bool {
    !tree.node(value).is_null() && tree.scalar(key).is_some_and(is_plain_name)
}

/// The same places in order, none empty and none within another.
fn apart(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, range| {
        let joins = next.start < range.end;
        if joins {
            range.end = range.end.max(next.end);
        }
        joins
    });
    ranges
}

/// Does one of the ranges, which are in order and apart, hold the place?
pub(super) fn holds(ranges: &[Range<usize>], at: usize) -> bool {
    let before = ranges.partition_point(|range| range.start <= at);
    before > 0 && ranges[before - 1].contains(&at)
}

/// The same for a text that could be read only up to an error. Which keys there are is then not sure, and a slip may have
/// put a secret outside of the mapping it was meant for. So where the text has a word that keys of secrets have, all from
/// there on is hidden, until a known key that stands no deeper than the word's line shows that what it began is over.
pub(super) fn hidden_at_error(text: &str, error: &SyntaxError) -> Vec<Range<usize>> {
    let tree = &error.tree;
    let maps = tree.ids().filter_map(|id| match &tree.node(id).kind {
        Kind::Map(entries) => Some(entries.iter().map(|(key, _)| *key)),
        Kind::Scalar { .. } | Kind::List(_) => None,
    });
    let keys = maps.flatten().chain(error.open.iter().copied());
    let keys = keys
        .filter(|key| tree.scalar(*key).is_some_and(is_known))
        .map(|key| tree.node(key).span.start);
    let lower = text.to_ascii_lowercase();
    let words = WORDS
        .iter()
        .chain(&["env"])
        .flat_map(|word| lower.match_indices(word))
        .map(|(at, _)| at);
    let mut places: Vec<(usize, bool)> = keys
        .map(|at| (at, false))
        .chain(words.map(|at| (at, true)))
        .collect();
    places.sort_unstable();

    let mut begun: Option<(usize, usize)> = None;
    let (mut line, mut last) = (0, 0);
    for (at, is_word) in places {
        line = text[last..at]
            .rfind('\n')
            .map_or(line, |newline| last + newline + 1);
        last = at;
        if is_word {
            let indent = text[line..at]
                .bytes()
                .take_while(|byte| b" -".contains(byte))
                .count();
            begun = Some(begun.map_or((at, indent), |(start, least)| (start, least.min(indent))));
        } else if begun.is_some_and(|(_, least)| at - line <= least) {
            begun = None;
        }
    }
    let mut ranges = hidden(text, tree);
    ranges.extend(begun.map(|(start, _)| start..text.len()));
    apart(ranges)
}

fn may_hold_secrets(key: &str) -> bool {
    key.to_ascii_lowercase().contains("env")
        || is_credential(key)
        || strsim::damerau_levenshtein(key, "env") <= 1
}

/// Is it what people name variables and headers?
pub(super) fn is_plain_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
