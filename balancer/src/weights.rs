//! The weights of every service's replicas, and where they come from.
//!
//! A [`WeightSource`] is a stream of whole tables: [`InProcessWeights`] for the program that runs the balancer inside
//! itself, [`FileWeights`] for a file that others write.

mod file;
mod in_process;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

pub use self::file::FileWeights;
pub use self::in_process::{InProcessSource, InProcessWeights};
use crate::Error;

/// Where weights come from.
pub trait WeightSource: Send {
    /// The table: the first call returns it as it is now, every later one waits until it is another. None says that it
    /// never changes again.
    ///
    /// Only the newest state counts: states in between may be left out. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Weights>> + Send;
}

/// The weights of all services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    services: BTreeMap<String, Vec<(Host, u32)>>,
}

impl Weights {
    /// Sets the replicas of a service and their weights. A weight of zero takes a replica out.
    ///
    /// # Errors
    ///
    /// [`Error::Service`] for a name that cannot be one segment of a path, or a replica that is listed twice.
    pub fn set(&mut self, service: &str, replicas: Vec<(Host, u32)>) -> Result<(), Error> {
        let fail = |reason: String| {
            Err(Error::Service {
                service: service.to_owned(),
                reason,
            })
        };
        if service.is_empty()
            || service.contains(['/', '?', '#'])
            || service.contains(char::is_whitespace)
        {
            return fail(
                "the name must be one segment of a path: not empty, no '/', '?', '#' or blanks"
                    .to_owned(),
            );
        }
        let mut seen = BTreeSet::new();
        if let Some((twice, _)) = replicas.iter().find(|(host, _)| !seen.insert(host)) {
            return fail(format!(
                "{twice} is listed twice; list it once, with the sum of the weights"
            ));
        }
        self.services.insert(service.to_owned(), replicas);
        Ok(())
    }

    /// Forgets a service: requests for it are answered with 404.
    pub fn remove(&mut self, service: &str) {
        self.services.remove(service);
    }

    /// The replicas of a service and their weights.
    #[must_use]
    pub fn replicas(&self, service: &str) -> Option<&[(Host, u32)]> {
        self.services.get(service).map(Vec::as_slice)
    }

    /// Reads `{"<service>": {"ips": ["host:port", …], "weights": [1, …]}}`; the inner object is the value that the
    /// original balancer keeps in etcd per function.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and where.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let entries: BTreeMap<String, Entry> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut weights = Self::default();
        for (
            service,
            Entry {
                ips,
                weights: numbers,
            },
        ) in entries
        {
            if ips.len() != numbers.len() {
                return Err(format!(
                    "service {service:?} has {} ips and {} weights",
                    ips.len(),
                    numbers.len()
                ));
            }
            let hosts = ips
                .iter()
                .map(|ip| ip.parse())
                .collect::<Result<Vec<Host>, Error>>()
                .map_err(|error| format!("service {service:?}: {error}"))?;
            weights
                .set(&service, hosts.into_iter().zip(numbers).collect())
                .map_err(|error| error.to_string())?;
        }
        Ok(weights)
    }

    pub(crate) fn services(&self) -> &BTreeMap<String, Vec<(Host, u32)>> {
        &self.services
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    ips: Vec<String>,
    weights: Vec<u32>,
}

/// `host:port` of a replica: an IP address (IPv6 in brackets) or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

impl Host {
    /// As given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| {
            Err(Error::Host {
                text: text.to_owned(),
                reason,
            })
        };
        let Some((host, port)) = text.rsplit_once(':') else {
            return fail("it has no port");
        };
        if !port.parse::<u16>().is_ok_and(|port| port != 0) {
            return fail("its port is no number from 1 to 65535");
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(Self(text.into()));
        }
        let part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty() || !host.chars().all(part_of_name) {
            return fail("its host is neither an IP address nor a name");
        }
        Ok(Self(text.into()))
    }
}

impl From<SocketAddr> for Host {
    fn from(addr: SocketAddr) -> Self {
        Self(addr.to_string().into())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_the_original_is_read() {
        let weights = Weights::from_json(
            br#"{"resnet": {"ips": ["10.0.0.1:8080", "pod-2:80"], "weights": [3, 0]}}"#,
        )
        .expect("it is the documented form");
        let hosts: Vec<_> = weights.services()["resnet"]
            .iter()
            .map(|(host, weight)| (host.as_str(), *weight))
            .collect();
        assert_eq!(hosts, [("10.0.0.1:8080", 3), ("pod-2:80", 0)]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        for (json, reason) in [
            (
                r#"{"a": {"ips": ["h:1"], "weights": []}}"#,
                "1 ips and 0 weights",
            ),
            (
                r#"{"a": {"ips": ["h:1"], "weights": [-1]}}"#,
                "invalid value",
            ),
            (
                r#"{"a": {"ips": ["h:1", "h:1"], "weights": [1, 1]}}"#,
                "listed twice",
            ),
            (r#"{"a": {"ips": ["h"], "weights": [1]}}"#, "has no port"),
            (
                r#"{"a": {"ips": ["h:0"], "weights": [1]}}"#,
                "no number from 1",
            ),
            (
                r#"{"a": {"ips": ["a b:1"], "weights": [1]}}"#,
                "neither an IP address nor a name",
            ),
            (
                r#"{"a": {"ips": [":1"], "weights": [1]}}"#,
                "neither an IP address nor a name",
            ),
            (
                r#"{"a/b": {"ips": [], "weights": []}}"#,
                "one segment of a path",
            ),
            (r#"{"a": {"hosts": [], "weights": []}}"#, "unknown field"),
            ("{", "EOF"),
            ("", "EOF"),
        ] {
            let error = Weights::from_json(json.as_bytes()).expect_err(json);
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn addresses_of_both_families_and_names_are_hosts() {
        for text in [
            "127.0.0.1:80",
            "[::1]:80",
            "localhost:8080",
            "web-1.default.svc:65535",
        ] {
            assert_eq!(text.parse::<Host>().expect(text).as_str(), text);
        }
        assert!("::1:80:".parse::<Host>().is_err());
    }
}
