//! The headers that the balancer adds, and the order in which a replica gets its request's.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{HeaderNameVariant, IntoCaseHeaderName, RequestHeader, ResponseHeader};

/// Identifies a request through all parts of Galileo.
pub(crate) const REQUEST_ID: &str = "x-galileo-request-id";
/// Names the cause of an answer that is the balancer's own.
pub(crate) const CAUSE: &str = "X-Galileo-Cause";
const VIA: &str = "X-Galileo-Via";
const FINAL_HOST: &str = "X-Final-Host";
const FORWARDED_FOR: &str = "X-Forwarded-For";

/// Names and values that are the same for all requests through a node.
#[derive(Debug)]
pub(crate) struct NodeHeaders {
    node: HeaderValue,
    /// `X-Forwarded-Host-<node>`, as it is written and as it is compared.
    forwarded_host: Bytes,
    forwarded_host_key: HeaderName,
}

/// What the balancer says about one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Forwarded {
    /// Unix seconds with 7 decimals.
    pub at: HeaderValue,
    /// The replica as `host:port`.
    pub to: HeaderValue,
}

impl Forwarded {
    pub fn now(to: HeaderValue) -> Self {
        // A clock before 1970 is shown as 1970.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let text = format!("{}.{:07}", now.as_secs(), now.subsec_nanos() / 100);
        Self {
            at: HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0")),
            to,
        }
    }
}

impl NodeHeaders {
    /// None if the node's name cannot be part of a header's name.
    pub fn new(node: &str) -> Option<Self> {
        let name = format!("X-Forwarded-Host-{node}");
        Some(Self {
            node: HeaderValue::from_str(node).ok()?,
            forwarded_host_key: HeaderName::from_bytes(name.as_bytes()).ok()?,
            forwarded_host: name.into(),
        })
    }

    /// The request as a replica gets it: `Host` first, the request's id behind it, `traceparent` third, then the rest in
    /// the client's order and spelling, then what the balancer adds.
    ///
    /// The probes look for the id within the first bytes of a request, so its place matters. It is made anew because
    /// what came before (pingora's removal of hop-by-hop fields) goes through `http::HeaderMap::remove`, which puts the
    /// last field in the place of the removed one.
    pub fn request(
        &self,
        from: &RequestHeader,
        path: &[u8],
        host: &HeaderValue,
        client: Option<IpAddr>,
        forwarded: &Forwarded,
    ) -> Result<RequestHeader> {
        let mut fields = Vec::with_capacity(from.headers.len());
        let mut chain = Vec::new();
        from.map(|name, value| {
            let (name, key) = match name {
                HeaderNameVariant::Case(name) => (
                    name.clone(),
                    String::from_utf8_lossy(name.as_slice()).to_ascii_lowercase(),
                ),
                HeaderNameVariant::Titled(name) => (
                    name.to_owned().into_case_header_name(),
                    name.to_ascii_lowercase(),
                ),
            };
            let place = match key.as_str() {
                "host" => 0,
                REQUEST_ID => 1,
                "traceparent" => 2,
                "x-forwarded-for" => {
                    chain.push(value.clone());
                    return Ok(());
                }
                "x-final-host" => return Ok(()),
                key if key == self.forwarded_host_key.as_str() => return Ok(()),
                _ => 3,
            };
            fields.push((place, name, value.clone()));
            Ok(())
        })?;
        fields.sort_by_key(|(place, ..)| *place);

        let mut request = RequestHeader::build(from.method.clone(), path, Some(fields.len() + 5))?;
        request.set_version(from.version);
        if fields.first().is_none_or(|(place, ..)| *place != 0) {
            request.append_header("Host", host.clone())?;
        }
        for (_, name, value) in fields {
            request.append_header(name, value)?;
        }
        if let Some(chain) = forwarded_for(&chain, client) {
            request.append_header(FORWARDED_FOR, chain)?;
        }
        request.append_header(VIA, self.node.clone())?;
        request.append_header(self.forwarded_host.clone(), forwarded.at.clone())?;
        request.append_header(FINAL_HOST, forwarded.to.clone())?;
        Ok(request)
    }

    /// Makes a replica's answer the balancer's: fields that concern the replica's connection go (RFC 9110, section
    /// 7.6.1; pingora writes its own `Connection`), the balancer's come.
    pub fn response(
        &self,
        response: &mut ResponseHeader,
        forwarded: Option<&Forwarded>,
    ) -> Result<()> {
        if response.status != http::StatusCode::SWITCHING_PROTOCOLS {
            for name in nominated(response) {
                response.remove_header(&name);
            }
            for name in ["keep-alive", "proxy-connection", "upgrade"] {
                response.remove_header(name);
            }
        }
        response.insert_header(VIA, self.node.clone())?;
        if let Some(forwarded) = forwarded {
            response.insert_header(self.forwarded_host.clone(), forwarded.at.clone())?;
            response.insert_header(FINAL_HOST, forwarded.to.clone())?;
        }
        Ok(())
    }
}

/// `X-Forwarded-For` with the client's address behind those that are there; none if there would be nothing in it.
fn forwarded_for(chain: &[HeaderValue], client: Option<IpAddr>) -> Option<HeaderValue> {
    let mut joined = chain
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    if let Some(client) = client {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        // An IPv4 client of a listener on [::] is told as IPv4.
        joined.extend_from_slice(client.to_canonical().to_string().as_bytes());
    }
    (!joined.is_empty())
        .then(|| HeaderValue::from_bytes(&joined).ok())
        .flatten()
}

/// The fields that `Connection` of an answer names, without those that frame it.
fn nominated(response: &ResponseHeader) -> Vec<HeaderName> {
    let framing = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ];
    response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !framing.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(request: &RequestHeader) -> Vec<String> {
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        String::from_utf8(wire)
            .expect("text")
            .lines()
            .map(|line| line.split(':').next().unwrap_or("").to_owned())
            .collect()
    }

    fn through(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut from = RequestHeader::build("GET", b"/function/web/x", None).expect("a request");
        for (name, value) in fields {
            from.append_header(*name, *value).expect("a field");
        }
        let host = HeaderValue::from_static("10.0.0.1:80");
        let forwarded = Forwarded::now(host.clone());
        NodeHeaders::new("edge-1")
            .expect("a name")
            .request(&from, b"/x", &host, "192.0.2.7".parse().ok(), &forwarded)
            .expect("a request")
    }

    #[test]
    fn the_request_id_follows_host_wherever_the_client_put_it() {
        let request = through(&[
            ("Accept", "*/*"),
            ("traceparent", "t"),
            ("X-Galileo-Request-Id", "a:1"),
            ("x-B", "2"),
            ("HOST", "h"),
        ]);
        assert_eq!(
            names(&request),
            [
                "HOST",
                "X-Galileo-Request-Id",
                "traceparent",
                "Accept",
                "x-B",
                "X-Forwarded-For",
                "X-Galileo-Via",
                "X-Forwarded-Host-edge-1",
                "X-Final-Host"
            ]
        );
        assert_eq!(request.raw_path(), b"/x");
    }

    #[test]
    fn a_request_without_host_gets_the_replicas() {
        let request = through(&[("Accept", "*/*")]);
        assert_eq!(names(&request)[0], "Host");
        assert_eq!(request.headers["host"], "10.0.0.1:80");
    }

    #[test]
    fn the_clients_address_is_appended_to_the_chain() {
        assert_eq!(
            through(&[("Host", "h")]).headers["x-forwarded-for"],
            "192.0.2.7"
        );
        let request = through(&[
            ("Host", "h"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ]);
        assert_eq!(
            request.headers["x-forwarded-for"],
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7"
        );
    }

    #[test]
    fn what_a_client_claims_to_be_the_balancers_is_replaced() {
        let request = through(&[
            ("Host", "h"),
            ("X-Final-Host", "evil:1"),
            ("x-forwarded-host-EDGE-1", "0"),
            ("X-Forwarded-Host-other", "1.0"),
        ]);
        assert_eq!(
            request
                .headers
                .get_all("x-final-host")
                .iter()
                .collect::<Vec<_>>(),
            ["10.0.0.1:80"]
        );
        assert_eq!(
            request
                .headers
                .get_all("x-forwarded-host-edge-1")
                .iter()
                .count(),
            1
        );
        assert_eq!(request.headers["x-forwarded-host-other"], "1.0");
    }

    #[test]
    fn the_time_of_forwarding_has_seven_decimals() {
        let request = through(&[("Host", "h")]);
        let text = request.headers["x-forwarded-host-edge-1"]
            .to_str()
            .expect("text");
        let (seconds, decimals) = text.split_once('.').expect("a point");
        assert!(
            seconds
                .parse::<u64>()
                .is_ok_and(|seconds| seconds > 1_700_000_000),
            "{text}"
        );
        assert_eq!(decimals.len(), 7);
    }

    #[test]
    fn fields_of_the_replicas_connection_do_not_reach_the_client() {
        let mut response = ResponseHeader::build(200, None).expect("a response");
        for (name, value) in [
            ("Connection", "close, X-Foo"),
            ("X-Foo", "1"),
            ("Keep-Alive", "timeout=5"),
            ("X-Bar", "2"),
        ] {
            response.append_header(name, value).expect("a field");
        }
        NodeHeaders::new("n")
            .expect("a name")
            .response(&mut response, None)
            .expect("a response");
        assert!(
            ["x-foo", "keep-alive"]
                .iter()
                .all(|name| !response.headers.contains_key(*name))
        );
        assert_eq!(response.headers["x-bar"], "2");
        assert_eq!(response.headers["x-galileo-via"], "n");
    }
}
