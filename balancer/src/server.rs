//! A balancer's life: listen, serve, drain, end.
//!
//! Pingora's own way (`run_forever`, its listening service) exits the process, handles signals, retries a busy port for
//! half a minute and then panics, and ends with a fixed sleep after which unfinished requests are dropped. A balancer
//! inside another program needs none of that, so pingora runs the workers (`Server::run` on a thread of its own) and
//! proxies, while the listener, the connections and the end are held here: [`Door`] is a service that accepts on a
//! socket bound beforehand and hands every connection to pingora's `HttpProxy`.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::listener::Listener;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::headers::NodeHeaders;
use crate::passage::InFlight;
use crate::proxy::Balancer;
use crate::routing::Table;
use crate::weights::WeightSource;
use crate::{Config, Error, HopSender};

/// How long the workers may take to end once nothing runs on them any more.
const WORKERS_END: u64 = 2;
/// Idle connections to replicas, all together. Pingora's 128 make a new one for most requests when more clients than
/// that come in bursts.
const KEPT_CONNECTIONS: usize = 1024;
/// Rest after a failed accept, so that a full table of file descriptors does not take a CPU.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Starts a balancer on a thread of its own.
///
/// The socket is bound when this returns: connections made from now on are served, the first requests once the source
/// has told the first table. Signals, the working directory and the runtime of the caller are left alone.
///
/// # Errors
///
/// [`Error::Node`] for a name that cannot be in a header, [`Error::Listen`] if the address cannot be had,
/// [`Error::Thread`] if the system gives no thread.
pub fn start(
    config: Config,
    weights: impl WeightSource + 'static,
    hops: HopSender,
) -> Result<Running, Error> {
    config.validate()?;
    let headers = NodeHeaders::new(&config.node).ok_or_else(|| Error::Node {
        node: config.node.clone(),
    })?;
    let listen = |error| Error::Listen {
        addr: config.listen,
        error,
    };
    let listener = TcpListener::bind(config.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;

    let in_flight = Arc::new(InFlight::default());
    let table = Arc::new(Table::default());
    let conf = server_conf(&config);
    let proxy_conf = Arc::new(server_conf(&config));
    let balancer = Balancer {
        config,
        headers,
        table: Arc::clone(&table),
        in_flight: Arc::clone(&in_flight),
        hops,
    };
    let (stop, stopped) = oneshot::channel();
    let (drained, left) = oneshot::channel();
    let finished = CancellationToken::new();
    let door = Door {
        opening: Mutex::new(Some(Opening {
            listener,
            weights,
            stopped,
            drained,
            finished: finished.clone(),
        })),
        proxy: Arc::new(http_proxy(&proxy_conf, balancer)),
        table,
        in_flight: Arc::clone(&in_flight),
    };
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("balancer".to_owned())
        .spawn(move || {
            let mut server = Server::new_with_opt_and_conf(None, conf);
            server.add_service(door);
            server.run(RunArgs {
                shutdown_signal: Box::new(Finished(finished)),
            });
            // The receiver is gone if nobody waits for the end.
            let _ = ended.send(());
        })
        .map_err(Error::Thread)?;
    tracing::info!(%addr, "the balancer listens");
    Ok(Running {
        addr,
        in_flight,
        stop,
        left,
        end,
        thread,
    })
}

fn server_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.threads.max(1),
        // Draining is done by then, see `Door::start_service`.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(WORKERS_END),
        // One connection that turned out dead may be made anew beside the replicas tried.
        max_retries: config.attempts.max(1) as usize + 1,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        ..ServerConf::default()
    }
}

/// A balancer that runs. Dropping it stops it at once, without waiting for its end.
#[derive(Debug)]
#[must_use = "dropping it stops the balancer"]
pub struct Running {
    addr: SocketAddr,
    in_flight: Arc<InFlight>,
    stop: oneshot::Sender<Duration>,
    left: oneshot::Receiver<usize>,
    end: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// How a balancer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut off at the deadline.
    pub left_in_flight: usize,
}

impl Running {
    /// Where it listens, with the port that the system chose if it was told to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests between the end of their head and the end of their answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// Stops it: no more connections are taken, idle ones are closed, those with a request end after its answer, and
    /// what is not done after `deadline` is cut off. Returns when all its threads are gone, at most about two seconds
    /// after the deadline; any runtime can wait for it.
    ///
    /// Pingora keeps one thread per process for its timers, which no one can end.
    pub async fn stop(self, deadline: Duration) -> Drained {
        // Errors on these channels mean that the server's thread ended already.
        let _ = self.stop.send(deadline);
        let left = self.left.await;
        let _ = self.end.await;
        // It ends right after its last message, and a panic in it was printed when it happened.
        let _ = self.thread.join();
        Drained {
            left_in_flight: left.unwrap_or_else(|_| self.in_flight.count()),
        }
    }
}

/// Pingora's server runs until the door is done; its shutdown then finds nothing to wait for.
struct Finished(CancellationToken);

#[async_trait]
impl ShutdownSignalWatch for Finished {
    async fn recv(&self) -> ShutdownSignal {
        self.0.cancelled().await;
        // The fast way would not wait for the workers' threads.
        ShutdownSignal::GracefulTerminate
    }
}

/// The service that takes connections in.
struct Door<W> {
    /// Never locked; it makes the door `Sync` for sources that are not.
    opening: Mutex<Option<Opening<W>>>,
    proxy: Arc<HttpProxy<Balancer>>,
    table: Arc<Table>,
    in_flight: Arc<InFlight>,
}

/// What is used up when the service starts.
struct Opening<W> {
    listener: TcpListener,
    weights: W,
    stopped: oneshot::Receiver<Duration>,
    drained: oneshot::Sender<usize>,
    finished: CancellationToken,
}

#[async_trait]
impl<W: WeightSource + 'static> Service for Door<W> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners: usize,
    ) {
        let Some(Opening {
            listener,
            weights,
            mut stopped,
            drained,
            finished,
        }) = self
            .opening
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        // Whatever ends this service, a panic too, ends the server.
        let _finished = finished.drop_guard();
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => Listener::from(listener),
            Err(error) => return tracing::error!(%error, "the balancer cannot listen"),
        };

        let (getting_ready, ready) = oneshot::channel();
        let table = Arc::clone(&self.table);
        let following = tokio::spawn(async move {
            table.follow(weights, getting_ready).await;
        });
        let connections = TaskTracker::new();
        let (closing, shutdown) = watch::channel(false);
        let accepting = async {
            // Never sent to: it ends with its sender, when the first table is in force or the source ended without one.
            let _ = ready.await;
            accept(&listener, &self.proxy, &connections, &shutdown).await
        };
        // A handle that was dropped asks for the end at once.
        let deadline = tokio::select! {
            never = accepting => match never {},
            deadline = &mut stopped => deadline.unwrap_or(Duration::ZERO),
        };

        tracing::info!(
            in_flight = self.in_flight.count(),
            ?deadline,
            "the balancer stops taking connections"
        );
        drop(listener);
        following.abort();
        closing.send_replace(true);
        self.proxy.cleanup().await;
        connections.close();
        let in_time = tokio::time::timeout(deadline, connections.wait())
            .await
            .is_ok();
        let left = if in_time { 0 } else { self.in_flight.count() };
        if left > 0 {
            tracing::warn!(left, "requests are cut off at the deadline");
        }
        // The receiver is gone if nobody waits for the end.
        let _ = drained.send(left);
    }

    fn name(&self) -> &'static str {
        "balancer"
    }
}

async fn accept(
    listener: &Listener,
    proxy: &Arc<HttpProxy<Balancer>>,
    connections: &TaskTracker,
    shutdown: &ShutdownWatch,
) -> std::convert::Infallible {
    loop {
        let mut stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let proxy = Arc::clone(proxy);
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            if let Err(error) = stream.set_nodelay() {
                return tracing::debug!(%error, "a connection ended at once");
            }
            proxy
                .process_new(Box::new(Connection::new(stream)), &shutdown)
                .await;
        });
    }
}
