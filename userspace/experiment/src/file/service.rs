//! The section `services`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use super::decode::{Decoder, Entry, Fields};
use super::document::{Nodes, time};
use super::mask::is_plain_name;
use super::nearest::hint;
use super::spec::{Limits, Service};
use super::tree::NodeId;
use super::{Memory, Secret, keys, name};
use crate::local::Health;

const MAX_REPLICAS: u32 = 64;
const MAX_WEIGHT: u32 = 1_000_000;
const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel takes a quota of 1 ms or more; of its usual period of 100 ms that is a hundredth.
const LEAST_CPU: f64 = 0.01;
const MOST_CPU: f64 = 8192.0;
/// Below this no program gets as far as its first line.
const LEAST_MEMORY: Memory = Memory(1 << 20);

/// The services that are sound, and the names of all with whether they have a port.
pub(super) struct Services {
    pub sound: Vec<Service>,
    pub ports: Vec<(String, bool)>,
}

pub(super) fn read_all(decoder: &mut Decoder<'_>, file: &Fields, nodes: &Nodes) -> Services {
    let mut services = Services {
        sound: Vec::new(),
        ports: Vec::new(),
    };
    let Some(id) = decoder.required(file, "services") else {
        return services;
    };
    let Some(entries) = decoder.mapping(
        id,
        "services by name, as in 'services: {web: {command: …}}'",
    ) else {
        return services;
    };
    if entries.is_empty() {
        decoder.report(decoder.span(id), "an experiment needs at least one service");
    }
    let mut bound: HashMap<u16, &str> = HashMap::new();
    for entry in entries {
        if let Some(problem) = name::problem(entry.name, "service") {
            decoder.report(entry.name_span.clone(), problem);
        }
        let Some(fields) = decoder.fields(entry.value, &keys::SERVICE, entry.name_span.clone())
        else {
            // It may be an entry of `env` in the wrong place.
            decoder.unknown.push((entry.key, entry.value));
            // Whether it has a port is not known, and workloads for it are not to blame.
            services.ports.push((entry.name.to_owned(), true));
            continue;
        };
        services
            .ports
            .push((entry.name.to_owned(), fields.has("port")));
        let Some(service) = read(decoder, &entry, &fields, nodes) else {
            continue;
        };
        if let (Some(port), 1) = (service.port, service.replicas)
            && let Some(other) = bound.insert(port, entry.name)
        {
            let at = fields
                .get("port")
                .map_or(entry.name_span, |id| decoder.span(id));
            decoder.report(
                at,
                format!("port {port} is bound by the service '{other}' already"),
            );
        }
        services.sound.push(service);
    }
    services
}

fn read(
    decoder: &mut Decoder<'_>,
    entry: &Entry<'_>,
    fields: &Fields,
    nodes: &Nodes,
) -> Option<Service> {
    let command = decoder
        .required(fields, "command")
        .and_then(|id| command(decoder, id));
    let port = fields
        .get("port")
        .map(|id| decoder.number(id, 1..=u16::MAX));
    let replicas = fields
        .get("replicas")
        .map_or(Some(1), |id| decoder.number(id, 1..=MAX_REPLICAS));
    let weights = weights(decoder, fields, replicas);
    let pinned = fields
        .get("node")
        .map_or(Some(Vec::new()), |id| pinned(decoder, id, nodes));
    let env = fields
        .get("env")
        .map_or(Some(BTreeMap::new()), |id| env(decoder, id, fields));
    let health = health(decoder, fields);
    let ready_timeout = time(decoder, fields, "ready_timeout", Duration::from_nanos(1));
    let limits = limits(decoder, fields);
    let cwd = fields.get("cwd").map(|id| cwd(decoder, id));
    Some(Service {
        name: entry.name.to_owned(),
        command: command?,
        // A value that is wrong is noted already, so what stands in for it is never used.
        port: port.flatten(),
        replicas: replicas?,
        nodes: pinned?,
        env: env?,
        health: health?,
        ready_timeout: ready_timeout.unwrap_or(DEFAULT_READY_TIMEOUT),
        limits,
        weights: weights?,
        cwd: cwd.flatten(),
    })
}

fn command(decoder: &mut Decoder<'_>, id: NodeId) -> Option<Vec<String>> {
    const EXPECTED: &str =
        "a command: a line such as './server --port 80', or a list such as [./server, --port, 80]";
    let words = if decoder.is_list(id) {
        let items = decoder.list(id, EXPECTED)?;
        let words: Vec<_> = items
            .iter()
            .map(|item| decoder.text(*item, "a word of the command"))
            .collect();
        words
            .into_iter()
            .map(|word| word.map(str::to_owned))
            .collect::<Option<Vec<_>>>()?
    } else {
        match shell_words::split(decoder.text(id, EXPECTED)?) {
            Ok(words) => words,
            Err(_) => {
                decoder.report(decoder.span(id), "a quote in the command has no end");
                return None;
            }
        }
    };
    if words.first().is_none_or(String::is_empty) {
        decoder.report(
            decoder.span(id),
            "the command is empty; it needs at least a program",
        );
        return None;
    }
    Some(words)
}

fn weights(decoder: &mut Decoder<'_>, fields: &Fields, replicas: Option<u32>) -> Option<Vec<u32>> {
    let Some(id) = fields.get("weights") else {
        return replicas.map(|replicas| vec![1; replicas as usize]);
    };
    let items = decoder.list(
        id,
        "a list of weights, one for each replica, such as [1, 1]",
    )?;
    let weights: Vec<_> = items
        .iter()
        .map(|item| decoder.number(*item, 0..=MAX_WEIGHT))
        .collect();
    let weights = weights.into_iter().collect::<Option<Vec<_>>>()?;
    let replicas = replicas?;
    let given = weights.len();
    if given != replicas as usize {
        let replicas = if replicas == 1 {
            "1 replica".into()
        } else {
            format!("{replicas} replicas")
        };
        decoder.report(
            decoder.span(id),
            format!("{given} given for {replicas}; there must be one for each"),
        );
        return None;
    }
    if weights.iter().all(|weight| *weight == 0) {
        decoder.report(
            decoder.span(id),
            "all weights are 0: no replica would get a request",
        );
        return None;
    }
    Some(weights)
}

fn pinned(decoder: &mut Decoder<'_>, id: NodeId, nodes: &Nodes) -> Option<Vec<String>> {
    const EXPECTED: &str = "the name of a node, or a list of names such as [a, b]";
    let items = if decoder.is_list(id) {
        decoder.list(id, EXPECTED)?.to_vec()
    } else {
        vec![id]
    };
    if items.is_empty() {
        decoder.report(
            decoder.span(id),
            "the list of nodes is empty; leave the key out to run on any CPU",
        );
        return None;
    }
    let mut names = Vec::with_capacity(items.len());
    for &item in &items {
        let Some(name) = decoder.text(item, EXPECTED) else {
            continue;
        };
        if nodes.names.iter().any(|node| node == name) {
            names.push(name.to_owned());
        } else {
            let hint = hint(name, nodes.names.iter().map(String::as_str), "node");
            decoder.report(decoder.span(item), format!("unknown node '{name}'{hint}"));
        }
    }
    (names.len() == items.len()).then_some(names)
}

fn env(
    decoder: &mut Decoder<'_>,
    id: NodeId,
    service: &Fields,
) -> Option<BTreeMap<String, Secret>> {
    let entries = decoder.mapping(id, "environment variables, as in 'env: {LOG: debug}'")?;
    decoder
        .secret_areas
        .push(service.key_span("env").end..decoder.span(id).end);
    let mut env = BTreeMap::new();
    for Entry {
        name,
        name_span,
        value,
        ..
    } in entries
    {
        if !is_plain_name(name) {
            decoder.report(
                name_span,
                "the name of an environment variable is made of letters, digits, '_', '-' and '.'",
            );
        } else if name == "PORT" && service.has("port") {
            decoder.report(
                name_span,
                "PORT is set by Galileo: it tells a replica which port is its own",
            );
        }
        if let Some(value) = decoder.secret(value, "the text of an environment variable") {
            env.insert(name.to_owned(), Secret::new(value));
        }
    }
    Some(env)
}

fn health(decoder: &mut Decoder<'_>, fields: &Fields) -> Option<Health> {
    let Some(id) = fields.get("health") else {
        return Some(Health::Tcp);
    };
    let text = decoder.text(id, "a path such as /, or tcp")?;
    if !fields.has("port") {
        decoder.report(
            fields.key_span("health"),
            "without a 'port' there is nothing that could be asked for health",
        );
        return None;
    }
    match text {
        "tcp" => Some(Health::Tcp),
        path if path.starts_with('/') => match super::workload::path_problem(path) {
            None => Some(Health::Http(path.to_owned())),
            Some(problem) => {
                decoder.report(decoder.span(id), problem);
                None
            }
        },
        _ => {
            decoder.report_expected(id, "a path that begins with '/', or tcp");
            None
        }
    }
}

fn limits(decoder: &mut Decoder<'_>, fields: &Fields) -> Limits {
    let Some(id) = fields.get("limits") else {
        return Limits::default();
    };
    let Some(limits) = decoder.fields(id, &keys::LIMITS, fields.key_span("limits")) else {
        return Limits::default();
    };
    let cpu = limits
        .get("cpu")
        .and_then(|id| decoder.decimal(id, LEAST_CPU..=MOST_CPU));
    let memory = limits.get("memory").and_then(|id| {
        let memory = decoder.parsed(id, "an amount of memory such as 64MiB")?;
        if memory < LEAST_MEMORY {
            decoder.report(
                decoder.span(id),
                format!("a limit of memory is at least {LEAST_MEMORY}"),
            );
        }
        Some(memory)
    });
    Limits { cpu, memory }
}

fn cwd(decoder: &mut Decoder<'_>, id: NodeId) -> Option<PathBuf> {
    let path = decoder.text(id, "the path of a folder")?;
    if path.is_empty() {
        decoder.report(
            decoder.span(id),
            "the path is empty; leave the key out for the folder of this file",
        );
    }
    Some(path.into())
}
