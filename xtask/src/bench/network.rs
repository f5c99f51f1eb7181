//! The networks that server and load generator talk over.

use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::process;

/// Where server and client are. All programs on it end when this process does.
pub(super) enum Network {
    /// On the machine's loopback interface.
    Loopback,
    /// Each in a network namespace of its own, as pods are, joined by a veth pair. They go when this is dropped.
    Veth {
        server: Namespace,
        client: Namespace,
    },
}

/// The ends of a network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

/// Addresses of the ends of the veth pair. Nobody but the two namespaces knows them.
const SERVER: &str = "10.9.0.1";
const CLIENT: &str = "10.9.0.2";

impl Network {
    /// Makes two namespaces and joins them.
    pub(super) fn veth() -> Result<Self> {
        let [server, client] = [Namespace::new("true")?, Namespace::new("true")?];
        let pair = format!(
            "ip link add eth0 type veth peer name eth0 netns {}",
            client.process()
        );
        let up = |address| format!("ip address add {address}/24 dev eth0 && ip link set eth0 up");
        run(&server, &format!("{pair} && {}", up(SERVER)))?;
        run(&client, &up(CLIENT))?;
        Ok(Self::Veth { server, client })
    }

    /// Addresses that the server is to listen on. On loopback it is there in any case: what measures asks it from beside it.
    pub(super) fn listen(&self) -> &'static [&'static str] {
        match self {
            Self::Loopback => &["127.0.0.1"],
            Self::Veth { .. } => &["127.0.0.1", SERVER],
        }
    }

    /// The server's address as the client knows it.
    pub(super) fn address(&self) -> &'static str {
        match self {
            Self::Loopback => "127.0.0.1",
            Self::Veth { .. } => SERVER,
        }
    }

    /// A process in the network namespace of the server.
    pub(super) fn server_process(&self) -> String {
        match self {
            Self::Loopback => "self".to_owned(),
            Self::Veth { server, .. } => server.process(),
        }
    }

    /// The begin of a command at one end; program and arguments are to follow. It gets `signal` when this process is gone.
    pub(super) fn command(&self, end: End, signal: &str) -> Command {
        let mut command = process::leashed(signal);
        if let Self::Veth { server, client } = self {
            let namespace = if end == End::Server { server } else { client };
            command.args(namespace.entry());
        }
        command
    }
}

fn run(namespace: &Namespace, script: &str) -> Result<()> {
    let [enter, option] = namespace.entry();
    process::output(Command::new(enter).arg(option).args(["sh", "-c", script]))
        .map(drop)
        .context("cannot join two network namespaces by a veth pair")
}
