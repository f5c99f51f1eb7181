//! TCP segments in IP packets.

use std::net::{IpAddr, SocketAddr};

/// Bits of [`Packet::flags`].
pub mod flag {
    /// There are no more bytes.
    pub const FIN: u8 = 1;
    /// The way opens.
    pub const SYN: u8 = 2;
    /// The connection is no more.
    pub const RST: u8 = 4;
    /// `PSH`.
    pub const PSH: u8 = 8;
    /// `acknowledged` counts.
    pub const ACK: u8 = 16;
}

/// A TCP segment and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Number of its first byte.
    pub sequence: u32,
    /// Number of the byte that is expected next from the other end.
    pub acknowledged: u32,
    /// See [`flag`].
    pub flags: u8,
    /// The bytes.
    pub payload: Vec<u8>,
}

const TCP: u8 = 6;
/// Options of a SYN: the largest segment that the peer takes, and that its window counts in 16 bytes.
const OPTIONS: [u8; 8] = [2, 4, 0xf0, 0x00, 1, 3, 3, 4];
const WINDOW: u16 = u16::MAX;

impl Packet {
    /// The packet, with its checksums.
    ///
    /// # Panics
    ///
    /// If one address is IPv4 and the other is not, or it is too long.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let options: &[u8] = if self.flags & flag::SYN != 0 {
            &OPTIONS
        } else {
            &[]
        };
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        tcp.push(((20 + options.len() as u8) / 4) << 4);
        tcp.push(self.flags);
        tcp.extend(WINDOW.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        let length = u16::try_from(tcp.len()).expect("a segment fits into a packet");
        let (mut ip, addresses) = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut ip = vec![0x45, 0];
                ip.extend((length + 20).to_be_bytes());
                ip.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
                let addresses = [from.octets(), to.octets()].concat();
                ip.extend(&addresses);
                let sum = checksum(&[&ip]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                (ip, addresses)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend(length.to_be_bytes());
                ip.extend([TCP, 64]);
                let addresses = [from.octets(), to.octets()].concat();
                ip.extend(&addresses);
                (ip, addresses)
            }
            _ => panic!("both ends are of one family"),
        };
        let [high, low] = length.to_be_bytes();
        let sum = checksum(&[&addresses, &[0, TCP, high, low], &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        ip.append(&mut tcp);
        ip
    }

    /// Reads a packet; none if it is no TCP.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (from, to, rest) = match bytes.first()? >> 4 {
            4 if *bytes.get(9)? == TCP => {
                let address = |at: usize| {
                    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
                    Some(IpAddr::from(octets))
                };
                let whole = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                let header = usize::from(bytes[0] & 0xf) * 4;
                (address(12)?, address(16)?, bytes.get(header..whole)?)
            }
            6 if *bytes.get(6)? == TCP => {
                let address = |at: usize| {
                    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
                    Some(IpAddr::from(octets))
                };
                (address(8)?, address(24)?, bytes.get(40..)?)
            }
            _ => return None,
        };
        let header: &[u8; 20] = rest.first_chunk()?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Self {
            from: SocketAddr::new(from, port(0)),
            to: SocketAddr::new(to, port(2)),
            sequence: word(4),
            acknowledged: word(8),
            flags: header[13],
            payload: rest.get(usize::from(header[12] >> 4) * 4..)?.to_vec(),
        })
    }
}

/// The internet checksum (RFC 1071) of these parts, all but the last of which are of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_read_again_and_its_sums_are_right() {
        for (from, to) in [
            ("10.0.0.1:80", "10.0.0.2:1"),
            ("[fd00::1]:80", "[fd00::2]:1"),
        ] {
            let packet = Packet {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                sequence: 0x0102_0304,
                acknowledged: 0xf1f2_f3f4,
                flags: flag::SYN | flag::ACK,
                payload: b"odd".to_vec(),
            };
            let bytes = packet.bytes();
            assert_eq!(Packet::read(&bytes), Some(packet));
            if bytes[0] >> 4 == 4 {
                assert_eq!(checksum(&[&bytes[..20]]), 0);
                let length = (bytes.len() - 20) as u8;
                assert_eq!(
                    checksum(&[&bytes[12..20], &[0, TCP, 0, length], &bytes[20..]]),
                    0
                );
            }
        }
    }
}
