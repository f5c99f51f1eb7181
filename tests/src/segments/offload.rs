//! What stands before each packet of a TUN device that cuts segments and makes checksums for the kernel (`struct virtio_net_hdr`
//! of its `linux/virtio_net.h`, in this machine's byte order).

/// Its length.
pub const BYTES: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: as of a packet of this machine, whose checksum need not be looked at.
const NEEDS_SUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`
const TCP_V4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`
const TCP_V6: u8 = 4;
/// Where the checksum stands in a TCP header.
const SUM_AT: u16 = 16;

/// For this IP packet, as if it had been put together of segments with so many bytes each; or of one, if it holds no more.
#[must_use]
pub fn header(packet: &[u8], segment: u16) -> [u8; BYTES] {
    let (kind, ip) = if packet[0] >> 4 == 4 {
        (TCP_V4, usize::from(packet[0] & 0xf) * 4)
    } else {
        (TCP_V6, 40)
    };
    let headers = ip + usize::from(packet[ip + 12] >> 4) * 4;
    let mut header = [0; BYTES];
    if packet.len() - headers <= usize::from(segment) {
        return header;
    }
    (header[0], header[1]) = (NEEDS_SUM, kind);
    for (at, value) in [
        (2, headers as u16),
        (4, segment),
        (6, ip as u16),
        (8, SUM_AT),
    ] {
        header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
    header
}
