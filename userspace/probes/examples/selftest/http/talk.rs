//! Both ends of a connection, in lock step: what one writes the other has read before anything else happens, so that each
//! write is a segment, or some if it is long.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use galileo_probes::{Exchange, Role};

use super::script::{Script, Step, Way};
use crate::Outcome;

/// What either end waits for the other at most: longer than an emulator stands still.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes that a socket takes without anybody reading.
const BUFFERED: usize = 16 << 10;

/// The servers.
pub(crate) struct Ports {
    four: TcpListener,
    six: TcpListener,
    deferred: TcpListener,
}

impl Ports {
    pub(crate) fn open() -> Outcome<Self> {
        let deferred = TcpListener::bind("127.0.0.1:0")?;
        defer_accept(&deferred)?;
        Ok(Self {
            four: TcpListener::bind("127.0.0.1:0")?,
            six: TcpListener::bind("[::1]:0")?,
            deferred,
        })
    }

    /// Whether an exchange was with one of the servers.
    pub(crate) fn is_ours(&self, exchange: &Exchange) -> bool {
        let server = match exchange.role {
            Role::Server => exchange.local,
            Role::Client => exchange.remote,
        };
        [&self.four, &self.six, &self.deferred]
            .iter()
            .any(|listener| {
                listener
                    .local_addr()
                    .is_ok_and(|address| address.port() == server.port())
            })
    }

    /// Does what the script says, and closes the connection, the client first.
    pub(crate) fn have(&self, script: &Script) -> Outcome {
        self.talk(script)
            .map_err(|error| format!("{}: {error}", script.kind).into())
    }

    fn talk(&self, script: &Script) -> Outcome {
        let listener = match script.way {
            Way::Four => &self.four,
            Way::Six => &self.six,
            Way::Deferred => &self.deferred,
        };
        let mut client = connect(listener.local_addr()?)?;
        let mut steps = script.steps.iter();
        let early = match steps.as_slice() {
            // There is no connection to accept before there is data.
            [Step::Ask(first), ..] if script.way == Way::Deferred => {
                client.write_all(first)?;
                steps.next();
                first.len()
            }
            _ => 0,
        };
        let (mut server, _) = listener.accept()?;
        prepare(&server)?;
        server.read_exact(&mut vec![0; early])?;
        let mut sides = [true, true];
        for step in steps {
            match step {
                Step::Ask(bytes) => pass(&mut client, &mut server, bytes)?,
                Step::Answer(bytes) => pass(&mut server, &mut client, bytes)?,
                Step::ClientEnds => end(&client, &mut server, &mut sides[0])?,
                Step::ServerEnds => end(&server, &mut client, &mut sides[1])?,
            }
        }
        if sides[0] {
            end(&client, &mut server, &mut sides[0])?;
        }
        if sides[1] {
            end(&server, &mut client, &mut sides[1])?;
        }
        Ok(())
    }
}

fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let client = TcpStream::connect(address)?;
    prepare(&client)?;
    Ok(client)
}

fn prepare(end: &TcpStream) -> Outcome {
    end.set_nodelay(true)?;
    end.set_read_timeout(Some(PATIENCE))?;
    end.set_write_timeout(Some(PATIENCE))?;
    Ok(())
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Outcome {
    let mut read = vec![0; bytes.len()];
    if bytes.len() <= BUFFERED {
        from.write_all(bytes)?;
        to.read_exact(&mut read)?;
    } else {
        thread::scope(|scope| {
            let written = scope.spawn(|| from.write_all(bytes));
            to.read_exact(&mut read)?;
            written
                .join()
                .map_err(|_| std::io::Error::other("the writer panicked"))?
        })?;
    }
    if read != bytes {
        return Err("other bytes came than were written".into());
    }
    Ok(())
}

fn end(from: &TcpStream, to: &mut TcpStream, open: &mut bool) -> Outcome {
    *open = false;
    from.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    to.read_to_end(&mut rest)?;
    if !rest.is_empty() {
        return Err("bytes came that nobody wrote".into());
    }
    Ok(())
}

/// tcp(7), `TCP_DEFER_ACCEPT`: neither std nor rustix has it.
fn defer_accept(listener: &TcpListener) -> Outcome {
    let seconds: libc::c_int = 5;
    // SAFETY: the descriptor is open, and the value is an int of the size that is said.
    let failed = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    if failed == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().into())
}
