//! What happens to a request: the callbacks that pingora-proxy calls on its way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::cause::Cause;
use crate::headers::{self, Forwarded, NodeHeaders};
use crate::passage::{InFlight, Passage};
use crate::routing::Table;
use crate::{Config, HopSender, target};

/// How long the rest of a request is read after its answer is settled. Closing a connection with unread data in it
/// resets it, and the client would lose the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// When a client may ask again for a service without replicas.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What all requests share.
pub(crate) struct Balancer {
    pub config: Config,
    pub headers: NodeHeaders,
    pub table: Arc<Table>,
    pub in_flight: Arc<InFlight>,
    pub hops: HopSender,
}

impl Balancer {
    /// Answers by itself.
    async fn answer(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        cause: Cause,
        text: String,
    ) -> Result<()> {
        passage.cause = Some(cause);
        let Some(status) = cause
            .status()
            .and_then(|status| StatusCode::from_u16(status).ok())
        else {
            return Ok(());
        };
        passage.status = Some(status.as_u16());
        let text = format!("{status}: {text} (cause: {cause})\n");
        let mut head = ResponseHeader::build(status, Some(8))?;
        head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
        head.insert_header(header::CONTENT_LENGTH, text.len())?;
        head.insert_header(headers::CAUSE, cause.as_str())?;
        if cause == Cause::NoReplica {
            head.insert_header("Retry-After", RETRY_AFTER)?;
        }
        self.headers
            .response(&mut head, passage.forwarded.as_ref())?;
        let without_body = session.req_header().method == Method::HEAD;
        if session.is_process_shutting_down() {
            session.set_keepalive(None);
        }
        session
            .write_response_header(Box::new(head), without_body)
            .await?;
        if !without_body {
            session
                .write_response_body(Some(Bytes::from(text)), true)
                .await?;
        }
        Ok(())
    }

    /// Finds the service and its replica whose turn it is; the cause and the words for it if there is none.
    fn route(&self, request: &RequestHeader, passage: &mut Passage) -> Result<(), (Cause, String)> {
        passage.request_id = request
            .headers
            .get(headers::REQUEST_ID)
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        let Some(target) = target::split(request.raw_path()) else {
            return Err((
                Cause::NoService,
                "ask for /function/<service>/<path>".to_owned(),
            ));
        };
        passage.service_name = target.service.to_owned();
        passage.host = target
            .authority
            .and_then(|authority| HeaderValue::from_bytes(authority).ok());
        let Some(service) = self.table.service(target.service) else {
            return Err((Cause::NoService, format!("no service {:?}", target.service)));
        };
        passage.path = target.path;
        let Some(replica) = service.pick(&[]) else {
            let text = format!(
                "service {:?} has no replica to ask: {}",
                target.service,
                service.why_none()
            );
            return Err((Cause::NoReplica, text));
        };
        passage.replica = Some(replica);
        passage.service = Some(service);
        Ok(())
    }

    /// `replica 10.0.0.7:80 of service "web" did not answer in time`.
    fn sentence(passage: &Passage, cause: Cause) -> String {
        let who = match &passage.replica {
            Some(replica) => format!(
                "replica {} of service {:?}",
                replica.host, passage.service_name
            ),
            None => format!("service {:?}", passage.service_name),
        };
        let attempts = match passage.attempt() {
            1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        format!("{who} {}{attempts}", cause.sentence())
    }
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::begin(&self.in_flight, &self.hops)
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let Err((cause, text)) = self.route(session.req_header(), passage) else {
            return Ok(false);
        };
        self.answer(session, passage, cause, text).await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        passage: &mut Passage,
    ) -> Result<Box<HttpPeer>> {
        let (replica, addr) = passage
            .replica
            .as_ref()
            .and_then(|replica| Some((replica, replica.addr?)))
            .ok_or_else(|| {
                Error::explain(
                    ErrorType::InternalError,
                    "only replicas with an address are picked",
                )
            })?;
        passage.forwarded = Some(Forwarded::now(replica.header.clone()));
        let mut peer = Box::new(HttpPeer::new(addr, false, String::new()));
        peer.options.connection_timeout = Some(self.config.connect_timeout);
        peer.options.read_timeout = Some(self.config.response_timeout);
        peer.options.write_timeout = Some(self.config.response_timeout);
        peer.options.idle_timeout = Some(self.config.idle_timeout);
        Ok(peer)
    }

    /// Nothing has been sent yet: another replica may be asked, whatever the method is.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        passage: &mut Passage,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.as_up();
        let cause = Cause::of(&error);
        passage.tried.extend(passage.replica.clone());
        let next = (passage.tried.len() < self.config.attempts as usize)
            .then(|| {
                passage
                    .service
                    .as_ref()
                    .and_then(|service| service.pick(&passage.tried))
            })
            .flatten();
        error.set_retry(next.is_some());
        if let Some(next) = next {
            passage.retry(cause, next);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&pingora_core::protocols::Digest>,
        passage: &mut Passage,
    ) -> Result<()> {
        passage.connected();
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let client = session
            .client_addr()
            .and_then(|addr| addr.as_inet())
            .map(std::net::SocketAddr::ip);
        if let Some(forwarded) = &passage.forwarded {
            let host = passage.host.as_ref().unwrap_or(&forwarded.to);
            *request = self
                .headers
                .request(request, &passage.path, host, client, forwarded)?;
        }
        Ok(())
    }

    /// The replica was sent something and failed. Asked again is only for what may be repeated (idempotent, its body
    /// still at hand), and only if the connection was one kept from before, which the replica may have closed meanwhile.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        passage: &mut Passage,
        reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let repeatable = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none()
            && !passage.reconnected;
        if repeatable {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        if error.retry()
            && let Some(replica) = passage.replica.clone()
        {
            passage.reconnected = true;
            passage.retry(Cause::of(&error), replica);
        }
        error
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if is_final(response.status) {
            passage.first_byte();
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if !is_final(response.status) {
            return Ok(());
        }
        passage.status = Some(response.status.as_u16());
        // The version is that of the connection, not that of the replica (RFC 9112, section 2.3).
        response.set_version(Version::HTTP_11);
        if session.req_header().version < Version::HTTP_11
            && response.headers.contains_key(header::TRANSFER_ENCODING)
        {
            // Such a client knows no chunks (RFC 9112, section 6.1), and pingora would send them: the end of the
            // connection ends the body.
            response.remove_header(&header::TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if session.is_process_shutting_down() {
            // The client learns from `Connection: close` that its next request needs another connection.
            session.set_keepalive(None);
        }
        self.headers.response(response, passage.forwarded.as_ref())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage,
    ) -> FailToProxy {
        let cause = Cause::of(error);
        passage.cause = Some(cause);
        tracing::debug!(%error, service = passage.service_name, "a request failed");
        let answered = session
            .response_written()
            .is_some_and(|response| is_final(response.status));
        if !answered {
            session.set_keepalive(None);
            let text = Self::sentence(passage, cause);
            match self.answer(session, passage, cause, text).await {
                Ok(()) if !cause.is_clients() => {
                    // Neither an error nor the end of the time matters: the connection is closed in any case.
                    let _ = tokio::time::timeout(LINGER, session.drain_request_body()).await;
                }
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "the client did not take the answer"),
            }
        }
        FailToProxy {
            error_code: cause.status().unwrap_or(0),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, _session: &mut Session, _error: Option<&Error>, passage: &mut Passage) {
        passage.end();
    }

    /// Pingora would write a line per failed request; the hop records tell it.
    fn suppress_error_log(&self, _session: &Session, _passage: &Passage, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _passage: &Passage,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Not 100, 102 or 103, which announce an answer.
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}
