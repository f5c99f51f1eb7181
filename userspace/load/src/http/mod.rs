//! A small HTTP/1.1 client that knows to the nanosecond when it wrote and read.
//!
//! Common clients hide the moments this crate is about: when the first byte of a request went to the socket and when the
//! first and last byte of its answer came. This one does plain HTTP/1.1 over TCP and nothing else: no redirects, cookies,
//! proxies, decompression or TLS.
//!
//! Reading order: [`message`] (what is written), [`answer`] (what is read) with [`chunked`], [`client`] (connections).

pub(crate) mod answer;
pub(crate) mod chunked;
pub(crate) mod client;
pub(crate) mod message;
