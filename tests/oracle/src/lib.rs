//! What the probes should see of an HTTP/1.x connection, worked out slowly and plainly.
//!
//! The probes read a connection in one pass, with a few hundred bytes of memory. This crate reads the same segments, in the
//! order in which the hook sees them, with all the memory it likes: it puts both byte streams together, parses them as
//! RFC 9112 says, pairs the messages, and only then asks what the probes may not know. It shares no code with them but the
//! numbers of `galileo-ebpf-abi`: what is kept of a path, of an id, and what the flags are called.
//!
//! ```
//! use galileo_oracle::{case, reading::Reading};
//!
//! let segments = case::read(
//!     "up   100 syn \"\"\n\
//!      down 500 syn \"\"\n\
//!      up   101 \"GET /a HTTP/1.1\\r\\n\\r\\n\"\n\
//!      down 501 \"HTTP/1.1 204 No Content\\r\\n\\r\\n\"\n",
//! )
//! .unwrap();
//! let reading = Reading::of(&segments);
//! assert_eq!(reading.exchanges[0].path, "/a");
//! assert_eq!(reading.exchanges[0].status, 204);
//! ```
//!
//! Reading order: [`segment`]; [`stream`] (bytes in their order again), [`message`] (RFC 9112), [`reading`] (which exchanges
//! there are, and what of them can be known), [`agreement`] (does what was seen agree?). Then the random side: [`dice`],
//! [`generate`] (legal conversations), [`delivery`] (cut, reordered, repeated), [`shrink`], [`case`] (segments as text), and [`campaign`] (one after the other).

#![forbid(unsafe_code)]

pub mod agreement;
pub mod campaign;
pub mod case;
pub mod delivery;
pub mod dice;
pub mod generate;
pub mod message;
pub mod reading;
pub mod segment;
pub mod shrink;
pub mod stream;
