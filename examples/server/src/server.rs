//! The listening socket and the threads that serve it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::connection::{self, Service};
use crate::options::Options;

/// How long a thread waits after a failed accept: the cause, mostly a lack of file descriptors, does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens and serves until a signal ends the process.
///
/// # Errors
///
/// If the address cannot be listened on or a thread cannot start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (address, port) = (options.address, options.port);
    let listener = TcpListener::bind((address, port))
        .with_context(|| format!("cannot listen on {address}, port {port}"))?;
    listener.set_nonblocking(true)?;
    let service = Arc::new(Service {
        work: options.work,
        body: vec![b'x'; options.body],
    });
    println!("listening on http://{}", listener.local_addr()?);

    let mut threads = Vec::new();
    for _ in 0..options.threads.get() {
        let listener = listener.try_clone()?;
        let service = Arc::clone(&service);
        threads.push(thread::spawn(move || serve(listener, &service)));
    }
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(())
}

/// One thread's event loop.
fn serve(listener: TcpListener, service: &Arc<Service>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start an event loop")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, _client)) => {
                    // The task ends with its connection, and all end with the process.
                    tokio::spawn(log_failure(connection::serve(stream, Arc::clone(service))));
                }
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn log_failure(connection: impl Future<Output = io::Result<()>>) {
    match connection.await {
        // A client that goes away is no event of the server's.
        Err(error)
            if error.kind() != io::ErrorKind::ConnectionReset
                && error.kind() != io::ErrorKind::BrokenPipe =>
        {
            eprintln!("a connection failed: {error}");
        }
        _ => {}
    }
}
