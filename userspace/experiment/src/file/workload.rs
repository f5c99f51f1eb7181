//! The section `workloads`.

use std::ops::Range;
use std::time::Duration;

use galileo_load::rate::Rate;
use galileo_load::schedule::{Arrival, Extent};

use super::decode::{Decoder, Entry, Fields};
use super::document::time;
use super::nearest::hint;
use super::service::Services;
use super::spec::{Request, Through, Workload};
use super::tree::NodeId;
use super::{Secret, keys};

const MAX_CLIENTS: u32 = 100_000;
const DEFAULT_IN_FLIGHT: u32 = 1024;
const MAX_IN_FLIGHT: u32 = 1_000_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// CONNECT and TRACE are no way to ask a service for work.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Headers that the worker writes: framing, the connection, and what joins a request with what was seen of it.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "expect",
    "x-galileo-request-id",
    "traceparent",
];

/// One item per workload of the file, none for one that is wrong; none at all if it is not known how many are meant.
pub(super) fn read_all(
    decoder: &mut Decoder<'_>,
    file: &Fields,
    services: &Services,
) -> Option<Vec<Option<Workload>>> {
    if !file.has("workloads") {
        return Some(Vec::new());
    }
    let items = decoder.list(file.get("workloads")?, "a list of workloads, '[]' for none")?;
    Some(
        items
            .iter()
            .map(|item| read(decoder, *item, services))
            .collect(),
    )
}

fn read(decoder: &mut Decoder<'_>, id: NodeId, services: &Services) -> Option<Workload> {
    let start = decoder.span(id).start;
    let fields = decoder.fields(id, &keys::WORKLOAD, start..start)?;
    let service = decoder
        .required(&fields, "service")
        .and_then(|id| service(decoder, id, services));
    let through = fields
        .get("through")
        .map_or(Some(Through::default()), |id| through(decoder, id));
    let clients = fields
        .get("clients")
        .map_or(Some(1), |id| decoder.number(id, 1..=MAX_CLIENTS));
    let request = request(decoder, &fields);
    let arrival = decoder
        .required(&fields, "arrival")
        .and_then(|id| arrival(decoder, id, fields.key_span("arrival")));
    let extent = extent(decoder, &fields);
    let seed = fields
        .get("seed")
        .map_or(Some(1), |id| decoder.number(id, 0..=u64::MAX));
    let in_flight = fields
        .get("in_flight")
        .map_or(Some(DEFAULT_IN_FLIGHT), |id| {
            decoder.number(id, 1..=MAX_IN_FLIGHT)
        });
    let timeout = time(decoder, &fields, "timeout", Duration::from_nanos(1));
    Some(Workload {
        service: service?,
        through: through?,
        clients: clients?,
        request: request?,
        arrival: arrival?,
        extent: extent?,
        seed: seed?,
        in_flight: in_flight?,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
    })
}

fn service(decoder: &mut Decoder<'_>, id: NodeId, services: &Services) -> Option<String> {
    let name = decoder.text(id, "the name of a service")?;
    let known = services.ports.iter().find(|(service, _)| service == name);
    let problem = match known {
        Some((_, true)) => return Some(name.to_owned()),
        Some((_, false)) => {
            format!("the service '{name}' has no 'port' that requests could be sent to")
        }
        None => {
            let names = services.ports.iter().map(|(name, _)| name.as_str());
            format!("unknown service '{name}'{}", hint(name, names, "service"))
        }
    };
    decoder.report(decoder.span(id), problem);
    None
}

fn through(decoder: &mut Decoder<'_>, id: NodeId) -> Option<Through> {
    let word = decoder.text(id, "balancer or direct")?;
    let known = Through::ALL
        .into_iter()
        .find(|through| through.as_str() == word);
    if known.is_none() {
        let hint = hint(word, Through::ALL.map(Through::as_str), "way");
        decoder.report(decoder.span(id), format!("unknown way '{word}'{hint}"));
    }
    known
}

fn arrival(decoder: &mut Decoder<'_>, id: NodeId, at: Range<usize>) -> Option<Arrival> {
    let fields = decoder.fields(id, &keys::ARRIVAL, at)?;
    match (fields.has("poisson"), fields.has("constant")) {
        (true, false) => rate(decoder, &fields, "poisson").map(Arrival::Poisson),
        (false, true) => rate(decoder, &fields, "constant").map(Arrival::Constant),
        (true, true) => {
            let why = "a workload has one arrival process; leave 'poisson' or 'constant' out";
            decoder.report(fields.key_span("constant"), why);
            None
        }
        (false, false) => {
            // With an unknown key there is a better message already.
            if decoder.is_empty_mapping(id) {
                decoder.report(
                    decoder.span(id),
                    "an arrival process is 'poisson' or 'constant', as in {poisson: 200/s}",
                );
            }
            None
        }
    }
}

fn rate(decoder: &mut Decoder<'_>, fields: &Fields, key: &str) -> Option<Rate> {
    fields
        .get(key)
        .and_then(|id| decoder.parsed(id, "a rate such as 200/s"))
}

fn extent(decoder: &mut Decoder<'_>, fields: &Fields) -> Option<Extent> {
    match (fields.has("duration"), fields.has("requests")) {
        (true, false) => {
            time(decoder, fields, "duration", Duration::from_nanos(1)).map(Extent::Duration)
        }
        (false, true) => {
            let id = fields.get("requests")?;
            decoder
                .number(id, 1..=1_000_000_000_000)
                .map(Extent::Requests)
        }
        (true, true) => {
            let why =
                "a workload ends after a 'duration' or after a number of 'requests'; leave one out";
            decoder.report(fields.key_span("requests"), why);
            None
        }
        (false, false) => {
            decoder.report(
                fields.at.clone(),
                "a workload needs a 'duration' or a number of 'requests'",
            );
            None
        }
    }
}

fn request(decoder: &mut Decoder<'_>, workload: &Fields) -> Option<Request> {
    let mut request = Request {
        method: "GET".into(),
        path: "/".into(),
        headers: Vec::new(),
        body: String::new(),
    };
    let Some(id) = workload.get("request") else {
        return Some(request);
    };
    let fields = decoder.fields(id, &keys::REQUEST, workload.key_span("request"))?;
    if let Some(id) = fields.get("method") {
        request.method = method(decoder, id)?;
    }
    if let Some(id) = fields.get("path") {
        request.path = path(decoder, id)?;
    }
    if let Some(id) = fields.get("headers") {
        request.headers = headers(decoder, id)?;
    }
    if let Some(id) = fields.get("body") {
        request.body = decoder.text(id, "the text of the body")?.to_owned();
    }
    Some(request)
}

fn method(decoder: &mut Decoder<'_>, id: NodeId) -> Option<String> {
    let method = decoder.text(id, "a method such as GET")?;
    if METHODS.contains(&method) {
        return Some(method.to_owned());
    }
    decoder.report(
        decoder.span(id),
        format!(
            "unknown method '{method}'{}",
            hint(method, METHODS, "method")
        ),
    );
    None
}

fn path(decoder: &mut Decoder<'_>, id: NodeId) -> Option<String> {
    let path = decoder.text(id, "a path such as /")?;
    match path_problem(path) {
        None => Some(path.to_owned()),
        Some(problem) => {
            decoder.report(decoder.span(id), problem);
            None
        }
    }
}

/// What keeps a text from being a request's path with query (RFC 9112 §3.2.1: origin-form).
pub(super) fn path_problem(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("the path '{path}' must begin with '/'"));
    }
    let wrong = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#')?;
    let mut bytes = [0; 4];
    let encoded: String = wrong
        .encode_utf8(&mut bytes)
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    Some(format!(
        "a path cannot hold {wrong:?}; write it as {encoded}"
    ))
}

fn headers(decoder: &mut Decoder<'_>, id: NodeId) -> Option<Vec<(String, Secret)>> {
    let entries = decoder.mapping(id, "headers, as in 'headers: {accept: text/plain}'")?;
    let mut headers = Vec::with_capacity(entries.len());
    for Entry {
        name,
        name_span,
        value,
        ..
    } in entries
    {
        if !is_token(name) {
            decoder.report(
                name_span,
                "the name of a header is made of letters, digits and !#$%&'*+-.^_`|~",
            );
        } else if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            decoder.report(
                name_span,
                format!("the header '{name}' is written by Galileo"),
            );
        }
        let expected = "the text of a header";
        let text = if is_credential(name) {
            decoder.secret(value, expected)
        } else {
            decoder.text(value, expected)
        };
        let Some(text) = text else { continue };
        if text.contains(|c: char| c.is_control() && c != '\t') {
            decoder.report(
                decoder.span(value),
                "the text of a header is one line without control characters",
            );
        }
        headers.push((name.to_owned(), Secret::new(text.trim())));
    }
    Some(headers)
}

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Parts of the names of headers that carry what others must not see.
pub(super) const CREDENTIAL_WORDS: [&str; 7] = [
    "auth", "cookie", "token", "key", "secret", "password", "session",
];

/// Does a header of this name carry what others must not see?
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
}
