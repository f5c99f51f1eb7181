//! YAML text to a tree of nodes that know where they stand in it.
//!
//! The events of `granit-parser` become nodes in one arena. An alias is a second reference to the node of its anchor,
//! never a copy, and the size of what it stands for counts at every use: a file of a few hundred bytes that would
//! unfold to gigabytes ("billion laughs") is refused while it is read.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// Collections inside one another. The deepest thing an experiment file needs has 6 levels.
const MAX_DEPTH: usize = 32;
/// Values in a file, those behind an alias counted at every use.
const MAX_VALUES: u64 = 100_000;

/// Index of a node in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Bytes of the text, quotes included; a block scalar without its header.
    pub span: Range<usize>,
    pub kind: Kind,
    /// Values in it and below, itself included, aliases unfolded.
    values: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar { text: String, style: ScalarStyle },
    List(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
}

impl Node {
    /// A value that was left out, or a plain `null` or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: ScalarStyle::Plain }
            if self.span.is_empty() || matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// All nodes of a document.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// The outermost value; none in an empty file.
    pub root: Option<NodeId>,
}

impl Tree {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The text of a scalar.
    pub fn scalar(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

/// Why a text is no YAML that an experiment file may hold.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub span: Range<usize>,
    pub message: String,
    /// What was read before the error.
    pub tree: Tree,
    /// Keys whose values were not complete at the error.
    pub open: Vec<NodeId>,
}

/// Reads a text that holds one YAML document.
///
/// # Errors
///
/// The first place where the text is no YAML, or is beyond what is allowed here.
pub(super) fn parse(text: &str) -> Result<Tree, Box<SyntaxError>> {
    let mut builder = Builder {
        text,
        ..Builder::default()
    };
    match builder.read() {
        Ok(()) => Ok(builder.tree),
        Err((span, message)) => {
            let open = builder.open_keys();
            while let Some(frame) = builder.open.pop() {
                builder.close(&frame);
            }
            Err(Box::new(SyntaxError {
                span,
                message,
                tree: builder.tree,
                open,
            }))
        }
    }
}

type Fault = (Range<usize>, String);

/// A collection whose end has not come yet.
struct Frame {
    id: NodeId,
    /// In a mapping: a key that waits for its value.
    key: Option<NodeId>,
}

#[derive(Default)]
struct Builder<'t> {
    text: &'t str,
    tree: Tree,
    open: Vec<Frame>,
    anchors: HashMap<usize, NodeId>,
    read_to: usize,
}

impl Builder<'_> {
    fn read(&mut self) -> Result<(), Fault> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = event.map_err(|error| {
                let at = error
                    .marker()
                    .byte_offset()
                    .unwrap_or(self.text.len())
                    .min(self.text.len());
                (at..at, error.info())
            })?;
            self.take(event, &span)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let range = span
            .byte_range()
            .unwrap_or(self.text.len()..self.text.len());
        self.read_to = self.read_to.max(range.end);
        if event.tag().is_some() {
            let tag = span
                .tag_span()
                .and_then(|tag| tag.byte_range())
                .unwrap_or(range);
            return Err((
                tag,
                "YAML tags have no meaning in an experiment file".into(),
            ));
        }
        match event {
            Event::DocumentStart(..) if self.tree.root.is_some() => Err((
                range,
                "an experiment file holds one YAML document; this begins a second one".into(),
            )),
            Event::Scalar(text, style, anchor, _) => {
                let id = self.add(
                    range,
                    Kind::Scalar {
                        text: text.into_owned(),
                        style,
                    },
                );
                self.anchors.insert(anchor, id);
                self.attach(id)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(range, Kind::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(range, Kind::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.open.pop() else {
                    return Ok(());
                };
                self.tree.nodes[frame.id.0].span.end = range.end;
                self.close(&frame);
                self.attach(frame.id)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(&id) if self.open.iter().any(|frame| frame.id == id) => {
                    Err((range, "an anchor may not contain itself".into()))
                }
                Some(&id) => self.attach_at(id, range),
                None => Err((range, "no anchor of this name stands before it".into())),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, span: Range<usize>, kind: Kind, anchor: usize) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err((
                span,
                format!("more than {MAX_DEPTH} levels inside one another"),
            ));
        }
        let id = self.add(span, kind);
        self.anchors.insert(anchor, id);
        self.open.push(Frame { id, key: None });
        Ok(())
    }

    fn add(&mut self, span: Range<usize>, kind: Kind) -> NodeId {
        self.tree.nodes.push(Node {
            span,
            kind,
            values: 1,
        });
        NodeId(self.tree.nodes.len() - 1)
    }

    fn attach(&mut self, id: NodeId) -> Result<(), Fault> {
        let span = self.tree.node(id).span.clone();
        self.attach_at(id, span)
    }

    /// Puts a complete value into the collection that is open. `at` is where it is used, which an alias has apart from
    /// where it is defined.
    fn attach_at(&mut self, id: NodeId, at: Range<usize>) -> Result<(), Fault> {
        let values = self.tree.node(id).values;
        let Some(frame) = self.open.last_mut() else {
            self.tree.root = Some(id);
            return Ok(());
        };
        let parent = &mut self.tree.nodes[frame.id.0];
        match (&mut parent.kind, frame.key.take()) {
            (Kind::List(items), _) => items.push(id),
            (Kind::Map(entries), Some(key)) => entries.push((key, id)),
            (Kind::Map(_), None) => frame.key = Some(id),
            (Kind::Scalar { .. }, _) => {}
        }
        parent.values = parent.values.saturating_add(values);
        if parent.values > MAX_VALUES {
            return Err((
                at,
                format!(
                    "more than {MAX_VALUES} values, those behind an alias counted at every use"
                ),
            ));
        }
        Ok(())
    }

    /// A key without a value that was cut off by an error is dropped; its parent keeps what is complete.
    fn close(&mut self, frame: &Frame) {
        let end = self.read_to;
        let span = &mut self.tree.nodes[frame.id.0].span;
        span.end = span.end.max(span.start).min(end.max(span.start));
    }

    fn open_keys(&self) -> Vec<NodeId> {
        self.open.iter().filter_map(|frame| frame.key).collect()
    }
}
