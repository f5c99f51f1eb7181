//! Two network namespaces joined by a wire (a veth pair), and what its devices count.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use galileo_probes::{NetworkNamespace, Traffic, sockets};

use crate::{leftovers, wait};

/// The name that each end of the wire has in its namespace.
pub const DEVICE: &str = "wire";
/// Bytes of an Ethernet header, which devices count and the probes do not.
pub const ETHERNET: u64 = 14;

/// A wire with a namespace at either end. Addresses of both families are set and the neighbours known, so that nothing
/// but the tests' packets passes.
pub struct Wire {
    /// One end: 10.9.0.1 and `fd09::1`.
    pub left: Namespace,
    /// The other end: 10.9.0.2 and `fd09::2`.
    pub right: Namespace,
}

/// A network namespace; it goes when this is dropped.
pub struct Namespace {
    name: String,
    /// Its address of IPv4.
    pub v4: &'static str,
    /// Its address of IPv6.
    pub v6: &'static str,
}

impl Wire {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// If that is not allowed: call it only where probes could be loaded.
    pub fn new() -> Self {
        let left = Namespace::new("10.9.0.1", "fd09::1");
        let right = Namespace::new("10.9.0.2", "fd09::2");
        let (l, r) = (&left.name, &right.name);
        run(&format!(
            "ip -n {l} link add {DEVICE} address 02:00:00:00:00:01 type veth \
             peer name {DEVICE} address 02:00:00:00:00:02 netns {r}"
        ));
        left.up("02:00:00:00:00:02", &right);
        right.up("02:00:00:00:00:01", &left);
        for end in [&left, &right] {
            wait::until("the wire carries", || {
                end.run(&format!("ip -o link show {DEVICE}"))
                    .contains("LOWER_UP")
                    .then_some(())
            });
            wait::until_local(end.v6, |command| end.run(command));
        }
        Self { left, right }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

impl Namespace {
    /// Makes one with nothing but its loopback interface.
    ///
    /// # Panics
    ///
    /// If that is not allowed.
    pub fn new(v4: &'static str, v6: &'static str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}{}-{}",
            leftovers::PREFIX,
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        run(&format!("ip netns add {name}"));
        let namespace = Self { name, v4, v6 };
        // The kernel would announce itself now and then: by router solicitations and as a member of multicast groups.
        namespace.filter(
            "table ip6 quiet {\n\
             chain out { type filter hook output priority 0; meta l4proto icmpv6 drop; }\n\
             }\n",
        );
        namespace.run("ip link set lo up");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn up(&self, neighbour: &str, peer: &Self) {
        self.run(&format!("ip address add {}/24 dev {DEVICE}", self.v4));
        self.run(&format!("ip address add {}/64 dev {DEVICE} nodad", self.v6));
        self.run(&format!("ip link set {DEVICE} up"));
        for address in [peer.v4, peer.v6] {
            self.run(&format!(
                "ip neighbour replace {address} lladdr {neighbour} dev {DEVICE}"
            ));
        }
    }

    /// A command that runs inside.
    #[must_use]
    pub fn command<'a>(&self, command: &[&'a str]) -> Vec<std::borrow::Cow<'a, str>> {
        let enter = [
            "nsenter".into(),
            format!("--net=/run/netns/{}", self.name).into(),
        ];
        let command = command.iter().map(|word| (*word).into());
        enter.into_iter().chain(command).collect()
    }

    /// Runs a program inside and returns what it prints.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run(&self, command: &str) -> String {
        run(&format!("nsenter --net=/run/netns/{} {command}", self.name))
    }

    /// The same for what may not work on every machine.
    ///
    /// # Errors
    ///
    /// If it fails: with the program, and what it says of that.
    pub fn try_run(&self, command: &str) -> Result<String, String> {
        try_run(&format!("nsenter --net=/run/netns/{} {command}", self.name))
    }

    /// Sets a kernel parameter of the namespace.
    pub fn set(&self, name: &str, value: &str) {
        self.run(&format!("sysctl -qw {name}={value}"));
    }

    /// Sets rules of nftables.
    ///
    /// # Panics
    ///
    /// If they are none.
    pub fn filter(&self, rules: &str) {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("rules");
        fs::write(&path, rules).expect("the folder can be written to");
        self.run(&format!("nft -f {}", path.display()));
    }

    /// What the namespace's end of the wire has counted, Ethernet headers included.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn device(&self) -> Traffic {
        let numbers = self.numbers();
        Traffic {
            rx_bytes: numbers[0],
            rx_packets: numbers[1],
            tx_bytes: numbers[8],
            tx_packets: numbers[9],
        }
    }

    /// Packets that the device did not pass on, in both directions: a veth drops what the other end's CPU has no room for, as when
    /// that CPU stands still for a while.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn dropped(&self) -> u64 {
        let numbers = self.numbers();
        numbers[3] + numbers[11]
    }

    /// What /proc/net/dev says of the device.
    fn numbers(&self) -> Vec<u64> {
        let text = self.run("cat /proc/self/net/dev");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("wire:"))
            .expect("the wire is there");
        line.split_whitespace()
            .map(|number| number.parse().expect("a number"))
            .collect()
    }

    /// A counter of its network stack, as `nstat` names it.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.run(&format!("nstat -asz {name}"));
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text:?}"))
    }

    /// For questions by the probes' own means.
    ///
    /// # Panics
    ///
    /// If it is gone.
    pub fn open(&self) -> NetworkNamespace {
        // Processes name their namespaces, mounts do not: a process inside is asked.
        let mut child = Command::new("nsenter")
            .args([&format!("--net=/run/netns/{}", self.name), "sleep", "60"])
            .spawn()
            .expect("nsenter is there");
        let own = NetworkNamespace::own().expect("/proc is mounted").id;
        let namespace = wait::until("the process is inside", || {
            NetworkNamespace::of_process(child.id())
                .ok()
                .filter(|namespace| namespace.id != own)
        });
        child.kill().expect("it was just started");
        child.wait().expect("it was just started");
        namespace
    }

    /// The TCP sockets inside.
    ///
    /// # Panics
    ///
    /// If the kernel does not tell them.
    pub fn sockets(&self) -> sockets::Sockets {
        sockets::tcp(&self.open()).expect("the kernel tells its sockets")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("cannot delete the network namespace {}", self.name);
        }
    }
}

/// Runs a program and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    try_run(command).unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command}: {}", text(&output.stderr)))
    }
}
