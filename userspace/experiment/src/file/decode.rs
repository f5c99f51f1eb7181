//! From nodes to typed values, noting every problem instead of ending at the first.
//!
//! A function that returns `None` has noted why, so callers go on with the rest.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use granit_parser::ScalarStyle;

use super::keys::Section;
use super::mask::{holds, is_plain_name};
use super::nearest::nearest;
use super::problem::Finding;
use super::tree::{Kind, NodeId, Tree};

/// Findings that are kept; a file of 1 MiB can have some 100,000.
const MAX_FINDINGS: usize = 200;

/// Reads the nodes of a tree and keeps what is wrong with them.
pub(super) struct Decoder<'t> {
    tree: &'t Tree,
    /// Parts of the text whose values do not appear in messages, in order and apart.
    hidden: &'t [Range<usize>],
    pub findings: Vec<Finding>,
    /// Scalars that must not be shown.
    pub secrets: Vec<NodeId>,
    /// Keys that nobody knows, with their values: they may be entries of `env` in the wrong place.
    pub unknown: Vec<(NodeId, NodeId)>,
    /// Where comments may hold such values too.
    pub secret_areas: Vec<Range<usize>>,
}

/// The entries of a mapping with a fixed set of keys.
pub(super) struct Fields {
    /// Where a missing key is reported.
    pub at: Range<usize>,
    what: &'static str,
    /// A key that is there without a value, or mistyped, maps to none: it is not reported as missing once more.
    entries: HashMap<&'static str, Option<NodeId>>,
    key_spans: HashMap<&'static str, Range<usize>>,
    /// A merge key may have been meant to bring any of the keys.
    merged: bool,
}

impl Fields {
    /// The value of a key, if it has one.
    pub fn get(&self, key: &str) -> Option<NodeId> {
        self.entries.get(key).copied().flatten()
    }

    /// Is the key there, with or without a value?
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the key stands; where the mapping is reported, if it is not there.
    pub fn key_span(&self, key: &str) -> Range<usize> {
        self.key_spans.get(key).unwrap_or(&self.at).clone()
    }
}

/// A key and its value in a mapping whose keys are names.
pub(super) struct Entry<'t> {
    pub name: &'t str,
    pub name_span: Range<usize>,
    pub key: NodeId,
    pub value: NodeId,
}

impl<'t> Decoder<'t> {
    pub fn new(tree: &'t Tree, hidden: &'t [Range<usize>]) -> Self {
        Self {
            tree,
            hidden,
            findings: Vec::new(),
            secrets: Vec::new(),
            unknown: Vec::new(),
            secret_areas: Vec::new(),
        }
    }

    pub fn report(&mut self, span: Range<usize>, message: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                span,
                message: message.into(),
            });
        }
    }

    pub fn span(&self, id: NodeId) -> Range<usize> {
        self.tree.node(id).span.clone()
    }

    pub fn is_list(&self, id: NodeId) -> bool {
        matches!(self.tree.node(id).kind, Kind::List(_))
    }

    pub fn is_empty_mapping(&self, id: NodeId) -> bool {
        matches!(&self.tree.node(id).kind, Kind::Map(entries) if entries.is_empty())
    }

    fn is_hidden(&self, span: &Range<usize>) -> bool {
        holds(self.hidden, span.start)
    }

    /// What a value is, for messages. It holds the value only if that is short and no secret.
    fn found(&self, id: NodeId) -> String {
        let node = self.tree.node(id);
        match &node.kind {
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a mapping".into(),
            Kind::Scalar { .. } if node.is_null() => "nothing".into(),
            Kind::Scalar { .. } if self.is_hidden(&node.span) => "a text".into(),
            Kind::Scalar { text, .. }
                if text.chars().count() > 40 || text.contains(char::is_control) =>
            {
                "a text".into()
            }
            Kind::Scalar {
                text,
                style: ScalarStyle::Plain,
            } => format!("'{text}'"),
            Kind::Scalar { text, .. } => format!("the text '{text}' in quotes"),
        }
    }

    pub fn report_expected(&mut self, id: NodeId, expected: &str) {
        let found = self.found(id);
        self.report(self.span(id), format!("expected {expected}, found {found}"));
    }

    /// A text where a mapping or list is expected may be anything, so it is not repeated.
    fn report_collection(&mut self, id: NodeId, expected: &str) {
        let found = match &self.tree.node(id).kind {
            Kind::Scalar { .. } if !self.tree.node(id).is_null() => "a text or number".to_owned(),
            _ => self.found(id),
        };
        self.report(self.span(id), format!("expected {expected}, found {found}"));
    }

    /// The entries of a mapping, without those whose key is no text or comes twice.
    pub fn mapping(&mut self, id: NodeId, expected: &str) -> Option<Vec<Entry<'t>>> {
        let Kind::Map(entries) = &self.tree.node(id).kind else {
            self.report_collection(id, expected);
            return None;
        };
        let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
        let mut sound = Vec::with_capacity(entries.len());
        for &(key, value) in entries {
            let name_span = self.span(key);
            let Some(name) = self
                .tree
                .scalar(key)
                .filter(|_| !self.tree.node(key).is_null())
            else {
                self.report(name_span, "a key must be a text");
                self.unknown.push((key, value));
                continue;
            };
            if seen.contains_key(name) {
                let key = if self.is_hidden(&name_span) {
                    "this key".into()
                } else {
                    format!("key '{name}'")
                };
                self.report(name_span, format!("{key} is there twice"));
                continue;
            }
            seen.insert(name, name_span.clone());
            sound.push(Entry {
                name,
                name_span,
                key,
                value,
            });
        }
        Some(sound)
    }

    /// The entries of a mapping with known keys. `at`: where a key that is missing is reported.
    pub fn fields(
        &mut self,
        id: NodeId,
        section: &'static Section,
        at: Range<usize>,
    ) -> Option<Fields> {
        let expected = format!(
            "{} (a mapping with the keys {})",
            section.what,
            section.keys.join(", ")
        );
        let mut fields = Fields {
            at,
            what: section.what,
            entries: HashMap::new(),
            key_spans: HashMap::new(),
            merged: false,
        };
        for Entry {
            name,
            name_span,
            key: key_id,
            value,
        } in self.mapping(id, &expected)?
        {
            let Some(&key) = section.keys.iter().find(|key| **key == name) else {
                fields.merged |= name == "<<";
                if let Some(meant) = nearest(name, section.keys.iter().copied()) {
                    fields.entries.entry(meant).or_insert(None);
                    fields
                        .key_spans
                        .entry(meant)
                        .or_insert_with(|| name_span.clone());
                } else {
                    self.unknown.push((key_id, value));
                }
                self.report(name_span, unknown_key(name, section));
                continue;
            };
            let null = self.tree.node(value).is_null();
            if null {
                self.report(
                    name_span.clone(),
                    format!("'{key}' has no value; give it one or leave the key out"),
                );
            }
            fields.entries.insert(key, (!null).then_some(value));
            fields.key_spans.insert(key, name_span);
        }
        Some(fields)
    }

    /// The value of a key that must be there.
    pub fn required(&mut self, fields: &Fields, key: &str) -> Option<NodeId> {
        if !fields.has(key) && !fields.merged {
            self.report(
                fields.at.clone(),
                format!("{} needs the key '{key}'", fields.what),
            );
        }
        fields.get(key)
    }

    pub fn list(&mut self, id: NodeId, expected: &str) -> Option<&'t [NodeId]> {
        match &self.tree.node(id).kind {
            Kind::List(items) => Some(items),
            Kind::Scalar { .. } | Kind::Map(_) => {
                self.report_collection(id, expected);
                None
            }
        }
    }

    /// Any scalar but nothing, as it is written: `8080` and `true` are texts where a text is asked for.
    pub fn text(&mut self, id: NodeId, expected: &str) -> Option<&'t str> {
        match self.tree.scalar(id) {
            Some(_) if self.tree.node(id).is_null() => {}
            Some(text) if text.contains('\0') => {
                self.report(
                    self.span(id),
                    "a NUL character cannot be passed to a program",
                );
                return None;
            }
            Some(text) => return Some(text),
            None => {}
        }
        self.report_expected(id, expected);
        None
    }

    /// As [`Decoder::text`], and the value is never shown in messages, snippets or the stored file.
    pub fn secret(&mut self, id: NodeId, expected: &str) -> Option<&'t str> {
        let problem = match (&self.tree.node(id).kind, self.tree.node(id).is_null()) {
            (Kind::Scalar { .. }, true) => {
                format!("expected {expected}, found nothing; write '' for an empty text")
            }
            (Kind::Scalar { text, .. }, false) => {
                self.secrets.push(id);
                match text.contains('\0') {
                    true => "a NUL character cannot be passed to a program".to_owned(),
                    false => return Some(text),
                }
            }
            (Kind::List(_) | Kind::Map(_), _) => {
                format!("expected {expected}, found {}", self.found(id))
            }
        };
        self.report(self.span(id), problem);
        None
    }

    /// A whole number, written without quotes.
    pub fn number<T>(&mut self, id: NodeId, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let node = self.tree.node(id);
        let number = match &node.kind {
            Kind::Scalar {
                text,
                style: ScalarStyle::Plain,
            } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|number| range.contains(number))
            }
            _ => None,
        };
        if number.is_none() {
            self.report_expected(
                id,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// `true` or `false`, written without quotes. `yes` and `on`, which YAML 1.1 had, are texts in 1.2, and would be a silent `false`
    /// to whoever meant them.
    pub fn boolean(&mut self, id: NodeId) -> Option<bool> {
        let value = match &self.tree.node(id).kind {
            Kind::Scalar {
                text,
                style: ScalarStyle::Plain,
            } => text.parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.report_expected(id, "true or false");
        }
        value
    }

    /// A number with or without a decimal point, written without quotes.
    pub fn decimal(&mut self, id: NodeId, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.tree.node(id);
        let number = match &node.kind {
            Kind::Scalar {
                text,
                style: ScalarStyle::Plain,
            } if text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
            {
                text.parse().ok().filter(|number| range.contains(number))
            }
            _ => None,
        };
        if number.is_none() {
            self.report_expected(
                id,
                &format!("a number from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A text that is read by its type; the type's own message is reported.
    pub fn parsed<T>(&mut self, id: NodeId, expected: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match self.text(id, expected)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(self.span(id), error.to_string());
                None
            }
        }
    }
}

fn unknown_key(name: &str, section: &Section) -> String {
    if name == "<<" {
        return "merge keys ('<<') are no part of YAML 1.2; an alias for a whole value ('env: *common') works".into();
    }
    if !is_plain_name(name) {
        return format!(
            "unknown key in {}; it has {}",
            section.what,
            section.keys.join(", ")
        );
    }
    match nearest(name, section.keys.iter().copied()) {
        Some(near) => format!("unknown key '{name}'; did you mean '{near}'?"),
        None => format!(
            "unknown key '{name}' in {}; it has {}",
            section.what,
            section.keys.join(", ")
        ),
    }
}
