//! End-to-end tests with real probes and real servers, and their harness.
//!
//! The probes see the whole machine, so each test looks only at cgroups and ports of its own, and takes its [`turn`] so
//! that tests of one program do not slow each other down. What starts a process or makes a cgroup ends it when dropped.
//!
//! Reading order: [`watch`] (probes, and what they saw), [`maps`] (what these take), [`pod`] (processes in cgroups of their own), [`nginx`]
//! (one of them), [`talk`] (connections that carry given bytes), [`segments`] (connections that carry given segments), [`wire`]
//! (network namespaces), [`flood`] (of softirqs), [`http`] (a plain client), [`wait`], [`accounts`] (the kernel's), [`leftovers`] (of tests that were killed);
//! apart from these [`runs`] (the program `galileo` as its users start it) and [`object`] (with a program that is refused).

#![forbid(unsafe_code)]

pub mod accounts;
pub mod flood;
pub mod http;
pub mod leftovers;
pub mod maps;
pub mod nginx;
pub mod object;
pub mod pod;
pub mod runs;
pub mod segments;
pub mod talk;
pub mod wait;
pub mod watch;
pub mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps the other tests of this program waiting while it lives.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that the next one depends on.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port of the loopback address that nobody listened on a moment ago.
///
/// # Panics
///
/// If none is to be had.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("cannot bind to a port of 127.0.0.1")
        .port()
}

/// Lets this process have as many files and sockets open as it may ask for.
///
/// # Panics
///
/// If the kernel refuses that.
pub fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).expect("up to its maximum a process may");
}
