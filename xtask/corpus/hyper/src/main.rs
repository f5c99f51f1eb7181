//! hyper's HTTP/1 server for `cargo xtask corpus`, with the paths that all its servers have.
//!
//! Arguments: the port of 127.0.0.1, the port of \[::\] for both families, a port that is not used (hyper has no option to
//! defer accepting), the log, a folder with the file `large`.

#![forbid(unsafe_code)]

use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Frame, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRAILER, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A header with the id of the request.
const ID: &str = "x-galileo-request-id";
/// A body that looks like messages.
const LOOKALIKE: &[u8] =
    b"HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
/// What a tunnel says.
const EVIL: &[u8] = b"HTTP/1.1 500 Evil\r\nContent-Length: 4\r\n\r\nevil";

type Body = BoxBody<Bytes, Infallible>;

/// What all answers need.
struct Site {
    log: File,
    large: Bytes,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plain, both, _, log, folder] = arguments.as_slice() else {
        anyhow::bail!("arguments: PLAIN BOTH DEFERRED LOG FOLDER");
    };
    let log = OpenOptions::new().create(true).append(true).open(log);
    let large = std::fs::read(Path::new(folder).join("large"));
    let site = Arc::new(Site {
        log: log.context("cannot open the log")?,
        large: large.context("cannot read the file")?.into(),
    });
    let six = TcpListener::bind(format!("[::]:{both}")).await?;
    let four = TcpListener::bind(format!("127.0.0.1:{plain}")).await?;
    tokio::try_join!(serve(four, site.clone()), serve(six, site))?;
    Ok(())
}

async fn serve(listener: TcpListener, site: Arc<Site>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let site = site.clone();
        let service = service_fn(move |request| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(answer(&site, request).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                eprintln!("{error}");
            }
        });
    }
}

/// The answer that the first part of the path asks for.
async fn answer(site: &Site, request: Request<Incoming>) -> Response<Body> {
    let id = request.headers().get(ID).cloned();
    let (method, target) = (request.method().clone(), request.uri().to_string());
    let kind = if method == Method::CONNECT {
        "connect"
    } else {
        target.split('/').nth(1).unwrap_or_default()
    };
    let small = Bytes::from(format!("{}\n", target.get(..100).unwrap_or(&target)));
    let mut response = match kind {
        "upgrade" | "connect" => {
            tokio::spawn(tunnel(request));
            let mut response = Response::new(full(Bytes::new()));
            if kind == "upgrade" {
                *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("galileo"));
            }
            response
        }
        "early" => {
            // The body is read while the answer is on its way.
            tokio::spawn(request.into_body().collect());
            status(403, Bytes::from_static(b"no\n"))
        }
        _ => {
            // An error means that the client is gone; so is the answer then.
            let _ = request.into_body().collect().await;
            match kind {
                "204" => status(204, Bytes::new()),
                "304" => {
                    let mut response = status(304, Bytes::new());
                    response
                        .headers_mut()
                        .insert(CONTENT_LENGTH, HeaderValue::from_static("5000"));
                    response
                }
                "chunked" => Response::new(parts(None)),
                "trailers" => {
                    let mut fields = HeaderMap::new();
                    fields.insert("x-t", HeaderValue::from_static("HTTP/1.1 500"));
                    let mut response = Response::new(parts(Some(fields)));
                    response
                        .headers_mut()
                        .insert(TRAILER, HeaderValue::from_static("x-t"));
                    response
                }
                "large" => status(200, site.large.clone()),
                "lookalike" => status(200, Bytes::from_static(LOOKALIKE)),
                "big-head" => {
                    let mut response = status(200, small);
                    if let Ok(pad) = HeaderValue::from_str(&"p".repeat(6000)) {
                        response.headers_mut().insert("x-pad", pad);
                    }
                    response
                }
                _ => status(200, small),
            }
        }
    };
    if let Some(id) = id {
        let line = format!(
            "{} {method} {target} {}\n",
            String::from_utf8_lossy(id.as_bytes()),
            response.status().as_u16()
        );
        if let Err(error) = (&site.log).write_all(line.as_bytes()) {
            eprintln!("cannot write the log: {error}");
        }
        response.headers_mut().insert("x-echo", id);
    }
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed()
}

fn status(code: u16, body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    if let Ok(code) = hyper::StatusCode::from_u16(code) {
        *response.status_mut() = code;
    }
    response
}

/// Three parts of unknown number, which are sent as chunks, and the trailers.
fn parts(trailers: Option<HeaderMap>) -> Body {
    let chunks = [4, 300, 17].map(|size| Frame::data(Bytes::from(vec![b'c'; size])));
    let frames = chunks
        .into_iter()
        .chain(trailers.map(Frame::trailers))
        .map(Ok);
    BodyExt::boxed(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())))
}

/// Reads something and says something that looks like an answer.
async fn tunnel(request: Request<Incoming>) {
    if let Ok(upgraded) = hyper::upgrade::on(request).await {
        let mut stream = TokioIo::new(upgraded);
        // The peer may leave whenever it likes.
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(EVIL).await;
        let _ = stream.shutdown().await;
    }
}
