//! A network namespace with one interface, whose other end is the test.

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::{offload, packet::Packet};
use crate::{wait, wire::run};

/// Which protocol the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The kernel's address in the namespace.
    #[must_use]
    pub fn kernel(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 9, 0, 1).into(),
            Self::V6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// The test's.
    #[must_use]
    pub fn peer(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 9, 0, 2).into(),
            Self::V6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2).into(),
        }
    }
}

/// See the module. The thread that made it stays in the namespace, with all that it starts.
pub struct Place {
    device: SyncDevice,
    buffer: Vec<u8>,
    size: Size,
    /// Keeps the namespace until this thread is in it, and ends with this.
    holder: Child,
}

/// How large the packets of the interface are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Large enough for everything a conversation sends at once, so that one write of the kernel's side is one segment.
    Whole,
    /// That of Ethernet; but the kernel leaves it to the device to cut what it sends (GSO), and takes from it what was cut
    /// together (GRO): its segments hold up to 64 kB.
    Cut,
}

impl Size {
    const fn mtu(self) -> u16 {
        match self {
            Self::Whole => 64_000,
            Self::Cut => 1500,
        }
    }

    /// Bytes of a segment on the wire, with what the headers leave of the packet.
    const fn segment(self) -> u16 {
        self.mtu() - 60
    }
}

impl Place {
    /// Makes one and enters it.
    ///
    /// # Panics
    ///
    /// If that may not be done here.
    #[must_use]
    pub fn enter(size: Size) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare can be started");
        let path = format!("/proc/{}/ns/net", holder.id());
        let own = fs::read_link("/proc/thread-self/ns/net").expect("procfs is mounted");
        wait::until("there is a network namespace", || {
            (fs::read_link(&path).ok()? != own).then_some(())
        });
        let namespace = File::open(&path).expect("the namespace was just made");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("a thread may enter a namespace that its program made");
        let device = DeviceBuilder::new()
            .name("wire")
            .mtu(size.mtu())
            .offload(true)
            .build_sync()
            .expect("a TUN device can be made: /dev/net/tun");
        device.set_nonblocking(true).expect("a descriptor");
        let [v4, v6] = [Family::V4, Family::V6].map(|family| family.kernel().to_string());
        run("ip link set lo up");
        run(&format!("ip address add {v4}/24 dev wire"));
        run(&format!("ip address add {v6}/64 dev wire nodad"));
        wait::until_local(&v6, run);
        Self {
            device,
            buffer: vec![0; offload::BYTES + usize::from(u16::MAX)],
            size,
            holder,
        }
    }

    /// Lets the kernel receive a packet. It has been through the hooks when this returns.
    ///
    /// # Panics
    ///
    /// If the device does not take it.
    pub fn send(&self, packet: &Packet) {
        let packet = packet.bytes();
        let header = offload::header(&packet, self.size.segment());
        self.device
            .send(&[&header[..], &packet].concat())
            .expect("the device takes packets");
    }

    /// The next TCP packet that the kernel has sent, if there is one now.
    ///
    /// # Panics
    ///
    /// If the device cannot be read.
    pub fn receive(&mut self) -> Option<Packet> {
        loop {
            let length = match self.device.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("the device cannot be read: {error}"),
            };
            if let Some(packet) = self.buffer[..length].get(offload::BYTES..)
                && let Some(packet) = Packet::read(packet)
            {
                return Some(packet);
            }
        }
    }

    /// The next TCP packet that the kernel sends, if one comes within this time.
    pub fn receive_within(&mut self, time: Duration) -> Option<Packet> {
        let end = std::time::Instant::now() + time;
        loop {
            if let Some(packet) = self.receive() {
                return Some(packet);
            }
            let rest = end.checked_duration_since(std::time::Instant::now())?;
            let timeout = Timespec::try_from(rest).ok()?;
            let mut one = [PollFd::new(&self.device, PollFlags::IN)];
            // Whether it was interrupted or timed out, the loop finds out.
            let _ = poll(&mut one, Some(&timeout));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
