//! What the headers of a packet say.

use aya_ebpf::{helpers::bpf_skb_load_bytes, programs::SkBuffContext};
use galileo_ebpf_core::{connection::RECEIVED, socket::Ends};

use crate::verifier::opaque;

/// Bits of [`Tcp::flags`] (RFC 9293, 3.1): the sender has sent all.
pub const FIN: u8 = 1;
/// As [`FIN`]: the connection begins.
pub const SYN: u8 = 2;
/// As [`FIN`]: the connection is over.
pub const RST: u8 = 4;
/// As [`FIN`]: [`Tcp::acknowledged`] counts.
pub const ACK: u8 = 16;

/// What the headers of IP and TCP say of a segment.
pub struct Tcp {
    /// Where the TCP header begins.
    header: u32,
    /// Where the payload begins.
    pub payload: u32,
    /// Sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// Sequence number of the next byte that the sender waits for.
    pub acknowledged: u32,
    /// See [`FIN`].
    pub flags: u8,
}

impl Tcp {
    /// Sequence number of the first byte of data: a SYN takes a number of its own, before the data that fast open sends with it.
    #[inline(always)]
    pub fn begin(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.flags & SYN != 0))
    }
}

const TCP: u8 = 6;
/// Headers with options for each router and for the destination (RFC 8200, 4.3 and 4.6). Kernels from 5.19 on, but for the newest, put
/// the former in front of segments of more than 64 KiB themselves (`ip6_xmit` in net/ipv6/ip6_output.c).
const HOP_BY_HOP: u8 = 0;
/// See [`HOP_BY_HOP`].
const DESTINATION: u8 = 60;
/// Headers with options in front of TCP, at most: one of each kind.
const OPTIONS: usize = 2;
/// Bytes of a header with options, at most.
const OPTIONS_BYTES: usize = 8 * 256;
/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;
/// Bytes in front of TCP, at most.
const MOST_BYTES: usize = IPV6_BYTES + OPTIONS * OPTIONS_BYTES;
/// Bytes of a TCP header without options.
const TCP_BYTES: usize = 20;

/// Reads the headers of IP and TCP, which the kernel has made lie in one piece before it comes here; none if it is another
/// protocol, or an IPv6 packet with other extension headers than [`OPTIONS`] with options: behind a routing header the address is another.
/// Fragments do not come here: they are put together before, and made behind.
#[inline(always)]
pub fn tcp(ctx: &SkBuffContext) -> Option<Tcp> {
    // SAFETY: the context is valid for the run; the verifier knows this as the begin of the packet.
    let data = unsafe { (*ctx.skb.skb).data } as usize as *const u8;
    // SAFETY: as above, as its end.
    let end = unsafe { (*ctx.skb.skb).data_end } as usize as *const u8;
    if data.wrapping_add(20 + TCP_BYTES) > end {
        return None;
    }
    let byte = |at: usize| {
        // SAFETY: at < 20, and so many bytes lie before `end`, as just checked; the verifier refuses what does not.
        unsafe { *data.wrapping_add(at) }
    };
    let header = match byte(0) >> 4 {
        4 if byte(9) == TCP => usize::from(byte(0) & 0xf) * 4,
        6 if byte(6) == TCP => IPV6_BYTES,
        6 => behind_options(data, end, byte(6))?,
        _ => return None,
    };
    // Where it begins is known to lie within one range for all, so that the verifier walks what follows once: what is added is 0, of which it
    // knows no more than the range.
    let unknown = usize::from(byte(0));
    let header = header.wrapping_add(opaque(unknown).wrapping_sub(unknown));
    if header > MOST_BYTES {
        return None;
    }
    let tcp = data.wrapping_add(header);
    if tcp.wrapping_add(TCP_BYTES) > end {
        return None;
    }
    let word = |at: usize| {
        // SAFETY: at + 4 ≤ TCP_BYTES, and TCP_BYTES from `tcp` on lie before `end`, as just checked.
        u32::from_be(unsafe { tcp.wrapping_add(at).cast::<u32>().read_unaligned() })
    };
    // SAFETY: as above: 12 < TCP_BYTES.
    let length = unsafe { *tcp.wrapping_add(12) } >> 4;
    // SAFETY: as above: 13 < TCP_BYTES.
    let flags = unsafe { *tcp.wrapping_add(13) };
    Some(Tcp {
        header: header as u32,
        payload: header as u32 + u32::from(length) * 4,
        sequence: word(4),
        acknowledged: word(8),
        flags,
    })
}

/// Where TCP begins behind headers with options, of which `kind` is the first; none if something else does.
#[inline(always)]
fn behind_options(data: *const u8, end: *const u8, mut kind: u8) -> Option<usize> {
    let mut header = IPV6_BYTES;
    for before in 0..OPTIONS {
        // The bound is one that holds. The verifier wants to see it of what is added to the begin of a packet.
        if !matches!(kind, HOP_BY_HOP | DESTINATION) || header > IPV6_BYTES + before * OPTIONS_BYTES
        {
            return None;
        }
        let options = data.wrapping_add(header);
        if options.wrapping_add(2) > end {
            return None;
        }
        // SAFETY: two bytes from `options` on lie before `end`, as just checked.
        let [next, length] = unsafe { options.cast::<[u8; 2]>().read() };
        header += 8 * (1 + usize::from(length));
        if next == TCP {
            return Some(header);
        }
        kind = next;
    }
    None
}

const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

/// Who talks to whom.
#[inline(always)]
pub fn ends(ctx: &SkBuffContext, tcp: &Tcp, direction: u32) -> Option<Ends> {
    let version: u8 = load(ctx, 0)?;
    let [source, destination]: [[u8; 16]; 2] = if version >> 4 == 4 {
        let [source, destination]: [[u8; 4]; 2] = load(ctx, 12)?;
        let mut mapped = [MAPPED; 2];
        mapped[0][12..].copy_from_slice(&source);
        mapped[1][12..].copy_from_slice(&destination);
        mapped
    } else {
        load(ctx, 8)?
    };
    let [from, to]: [[u8; 2]; 2] = load(ctx, tcp.header)?;
    let (from, to) = (u16::from_be_bytes(from), u16::from_be_bytes(to));
    Some(if direction == RECEIVED {
        Ends {
            local_addr: destination,
            remote_addr: source,
            local_port: to,
            remote_port: from,
        }
    } else {
        Ends {
            local_addr: source,
            remote_addr: destination,
            local_port: from,
            remote_port: to,
        }
    })
}

/// What consists of bytes.
///
/// # Safety
///
/// Any bytes are a value of it: a byte, or an array of these.
unsafe trait Bytes {}

// SAFETY: a byte.
unsafe impl Bytes for u8 {}

// SAFETY: an array of what consists of bytes.
unsafe impl<T: Bytes, const N: usize> Bytes for [T; N] {}

/// Copies what begins at `offset` of the packet.
#[inline(always)]
fn load<T: Bytes>(ctx: &SkBuffContext, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the context is valid for the run, and the value has as many bytes as are asked for.
    let failed = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            offset,
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
        )
    };
    if failed != 0 {
        return None;
    }
    // SAFETY: the helper fills all bytes or fails, and any bytes are a value.
    Some(unsafe { value.assume_init() })
}
