//! The channel between Galileo and its helper processes.
//!
//! A helper gets one end of a socket pair as its standard input, the one descriptor that `std` passes on without
//! `unsafe`. It moves it away at once, to a number that is closed at `exec`, and has `/dev/null` there. So the end of
//! the channel tells either side what became of the other: closed at `exec`, or because a process died.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

/// A channel: our end, and the one to give to the helper as its standard input.
pub(crate) fn pair() -> io::Result<(UnixStream, Stdio)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, Stdio::from(OwnedFd::from(theirs))))
}

/// In the helper: the channel.
pub(crate) fn take() -> io::Result<UnixStream> {
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(channel))
}
