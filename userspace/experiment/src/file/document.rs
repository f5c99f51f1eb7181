//! The file as a whole: its top-level keys, and what holds between its sections.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::decode::{Decoder, Fields};
use super::problem::{FileError, Finding, Problems};
use super::spec::{
    DEFAULT_STORED_EXCHANGES, ExperimentFile, MOST_STORED_EXCHANGES, Node, Telemetry,
};
use super::tree::{self, NodeId, Tree};
use super::{Secret, TimeSpan, keys, mask, name, service, workload};

/// A reading of the instruments takes some milliseconds; more often than this they would mostly measure themselves.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

pub(super) const TIME: &str = "a time such as 500ms, 20s or 1m30s";

pub(super) fn read(path: &Path, text: &str) -> Result<ExperimentFile, FileError> {
    let invalid = |findings, hidden: &[Range<usize>]| {
        FileError::Invalid(Problems::new(path.to_owned(), text, findings, hidden))
    };
    let tree = tree::parse(text).map_err(|error| {
        let hidden = mask::hidden_at_error(text, &error);
        invalid(
            vec![Finding {
                span: error.span,
                message: error.message,
            }],
            &hidden,
        )
    })?;
    let hidden = mask::hidden(text, &tree);
    let empty = "the file is empty; 'galileo init' writes an example";
    let Some(root) = tree.root.filter(|root| !tree.node(*root).is_null()) else {
        return Err(invalid(
            vec![Finding {
                span: 0..0,
                message: empty.into(),
            }],
            &hidden,
        ));
    };
    let folder = std::path::absolute(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let folder = folder.parent().unwrap_or(&folder).to_owned();

    let mut decoder = Decoder::new(&tree, &hidden);
    let file = Document {
        path,
        folder: &folder,
        text,
        tree: &tree,
        hidden: &hidden,
    }
    .read(&mut decoder, root);
    match file {
        Some(file) if decoder.findings.is_empty() => Ok(file),
        _ => {
            let (findings, unknown) = (decoder.findings, decoder.unknown);
            Err(invalid(
                findings,
                &mask::hidden_with(text, &tree, hidden, &unknown),
            ))
        }
    }
}

struct Document<'t> {
    path: &'t Path,
    folder: &'t Path,
    text: &'t str,
    tree: &'t Tree,
    hidden: &'t [Range<usize>],
}

impl Document<'_> {
    /// The file, if it is sound as far as it was read; the decoder knows all that is not.
    fn read(&self, decoder: &mut Decoder<'_>, root: NodeId) -> Option<ExperimentFile> {
        let start = decoder.span(root).start;
        let fields = decoder.fields(root, &keys::FILE, start..start)?;
        version(decoder, &fields);
        let name = self.name(decoder, &fields);
        let nodes = nodes(decoder, &fields);
        let services = service::read_all(decoder, &fields, &nodes);
        let workloads = workload::read_all(decoder, &fields, &services);
        let duration = time(decoder, &fields, "duration", Duration::from_nanos(1));
        if let Some(workloads) = &workloads {
            check_duration(decoder, &fields, workloads.is_empty());
        }
        let warmup = time(decoder, &fields, "warmup", Duration::ZERO).unwrap_or_default();
        let telemetry = telemetry(decoder, &fields);
        let stored_exchanges = record(decoder, &fields);
        Some(ExperimentFile {
            path: self.path.to_owned(),
            folder: self.folder.to_owned(),
            name: name?,
            nodes: nodes.sound,
            services: services.sound,
            workloads: workloads?.into_iter().collect::<Option<_>>()?,
            warmup,
            duration,
            telemetry,
            stored_exchanges,
            masked_source: mask::masked(
                self.text,
                self.tree,
                &decoder.secrets,
                &decoder.secret_areas,
            ),
            source: Secret::new(self.text),
            hidden: self.hidden.to_vec(),
        })
    }

    fn name(&self, decoder: &mut Decoder<'_>, fields: &Fields) -> Option<String> {
        const MAX: usize = 100;
        let Some(id) = fields.get("name") else {
            let stem = self
                .path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            return Some(stem.unwrap_or_else(|| "experiment".into()));
        };
        let name = decoder.text(id, "the experiment's name")?;
        if name.trim().is_empty() || name.chars().count() > MAX || name.contains(char::is_control) {
            decoder.report(
                decoder.span(id),
                format!("a name is one line of 1 to {MAX} characters"),
            );
            return None;
        }
        Some(name.to_owned())
    }
}

fn version(decoder: &mut Decoder<'_>, fields: &Fields) {
    let Some(id) = fields.get("version") else {
        return;
    };
    if let Some(version @ 2..) = decoder.number::<u32>(id, 1..=u32::MAX) {
        let problem = format!("version {version} is not known here; this Galileo reads version 1");
        decoder.report(decoder.span(id), problem);
    }
}

/// The nodes that are sound, and the names of all.
pub(super) struct Nodes {
    pub sound: Vec<Node>,
    pub names: Vec<String>,
}

fn nodes(decoder: &mut Decoder<'_>, fields: &Fields) -> Nodes {
    let mut nodes = Nodes {
        sound: Vec::new(),
        names: Vec::new(),
    };
    let Some(id) = fields.get("nodes") else {
        return nodes;
    };
    for entry in decoder
        .mapping(id, "nodes by name, as in 'nodes: {a: {cpus: [0]}}'")
        .unwrap_or_default()
    {
        if let Some(problem) = name::problem(entry.name, "node") {
            decoder.report(entry.name_span.clone(), problem);
        }
        nodes.names.push(entry.name.to_owned());
        let Some(fields) = decoder.fields(entry.value, &keys::NODE, entry.name_span) else {
            continue;
        };
        let Some(id) = decoder.required(&fields, "cpus") else {
            continue;
        };
        if let Some(cpus) = cpus(decoder, id) {
            nodes.sound.push(Node {
                name: entry.name.to_owned(),
                cpus,
                cpus_span: decoder.span(id),
            });
        }
    }
    nodes
}

fn cpus(decoder: &mut Decoder<'_>, id: NodeId) -> Option<Vec<u32>> {
    /// The most that Linux can be built for (`NR_CPUS`).
    const LAST_CPU: u32 = 8191;
    let items = decoder.list(id, "a list of CPU numbers such as [0, 1]")?;
    if items.is_empty() {
        decoder.report(decoder.span(id), "a node needs at least one CPU");
        return None;
    }
    let mut cpus = BTreeSet::new();
    let mut sound = true;
    for &item in items {
        match decoder.number(item, 0..=LAST_CPU) {
            Some(cpu) if cpus.insert(cpu) => {}
            Some(cpu) => {
                decoder.report(decoder.span(item), format!("CPU {cpu} is there twice"));
                sound = false;
            }
            None => sound = false,
        }
    }
    sound.then(|| cpus.into_iter().collect())
}

/// A time that is at least `least`.
pub(super) fn time(
    decoder: &mut Decoder<'_>,
    fields: &Fields,
    key: &str,
    least: Duration,
) -> Option<Duration> {
    let id = fields.get(key)?;
    let TimeSpan(time) = decoder.parsed(id, TIME)?;
    if time < least {
        let least = if least < SHORTEST_PERIOD {
            "more than 0".into()
        } else {
            format!("at least {}", TimeSpan(least))
        };
        decoder.report(decoder.span(id), format!("{key} must be {least}"));
        return None;
    }
    Some(time)
}

fn check_duration(decoder: &mut Decoder<'_>, fields: &Fields, observes: bool) {
    match (observes, fields.has("duration")) {
        (true, false) => {
            let why = "an experiment without workloads only observes and needs a 'duration', for example 'duration: 12s'";
            decoder.report(fields.key_span("workloads"), why);
        }
        (false, true) => {
            let why = "with workloads each has a 'duration' of its own; the top-level one is for experiments without any";
            decoder.report(fields.key_span("duration"), why);
        }
        (true, true) | (false, false) => {}
    }
}

fn telemetry(decoder: &mut Decoder<'_>, fields: &Fields) -> Telemetry {
    let given = fields
        .get("telemetry")
        .and_then(|id| decoder.fields(id, &keys::TELEMETRY, fields.key_span("telemetry")));
    let Some(fields) = given else {
        return Telemetry::default();
    };
    let default = Telemetry::default();
    Telemetry {
        period: time(decoder, &fields, "period", SHORTEST_PERIOD).unwrap_or(default.period),
        interrupts: fields
            .get("interrupts")
            .and_then(|id| decoder.boolean(id))
            .unwrap_or(default.interrupts),
    }
}

fn record(decoder: &mut Decoder<'_>, fields: &Fields) -> u64 {
    fields
        .get("record")
        .and_then(|id| decoder.fields(id, &keys::RECORD, fields.key_span("record")))
        .and_then(|fields| fields.get("exchanges"))
        .and_then(|id| decoder.number(id, 0..=MOST_STORED_EXCHANGES))
        .unwrap_or(DEFAULT_STORED_EXCHANGES)
}

impl ExperimentFile {
    /// Notes every node that has a CPU which is not among those online.
    pub(crate) fn check_cpus(&self, online: &BTreeSet<u32>) -> Result<(), FileError> {
        let mut findings = Vec::new();
        for node in &self.nodes {
            let missing: Vec<String> = node
                .cpus
                .iter()
                .filter(|cpu| !online.contains(cpu))
                .map(u32::to_string)
                .collect();
            if !missing.is_empty() {
                let there = ranges(online);
                let message = format!(
                    "node '{}' has CPU {}, which this machine lacks (online: {there})",
                    node.name,
                    missing.join(", ")
                );
                findings.push(Finding {
                    span: node.cpus_span.clone(),
                    message,
                });
            }
        }
        if findings.is_empty() {
            return Ok(());
        }
        Err(FileError::Invalid(Problems::new(
            self.path.clone(),
            self.source.reveal(),
            findings,
            &self.hidden,
        )))
    }
}

/// `0-3, 5`.
fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text = |(first, last): (u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}
