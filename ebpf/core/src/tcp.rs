//! How a TCP connection ended, from what the kernel shows of it at its last change of state.

use galileo_ebpf_abi::connection_end as end;

/// States of a TCP socket (`BPF_TCP_*`, include/uapi/linux/bpf.h).
pub mod state {
    /// `BPF_TCP_ESTABLISHED`.
    pub const ESTABLISHED: u32 = 1;
    /// `BPF_TCP_SYN_SENT`.
    pub const SYN_SENT: u32 = 2;
    /// `BPF_TCP_SYN_RECV`.
    pub const SYN_RECV: u32 = 3;
    /// `BPF_TCP_FIN_WAIT1`.
    pub const FIN_WAIT1: u32 = 4;
    /// `BPF_TCP_FIN_WAIT2`.
    pub const FIN_WAIT2: u32 = 5;
    /// `BPF_TCP_CLOSE`.
    pub const CLOSE: u32 = 7;
    /// `BPF_TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: u32 = 8;
    /// `BPF_TCP_LAST_ACK`.
    pub const LAST_ACK: u32 = 9;
    /// `BPF_TCP_CLOSING`.
    pub const CLOSING: u32 = 11;
}

/// How a connection ended that goes from the state `before` to closed (RFC 9293, 3.3.2).
///
/// `expired` tells that the kernel gave it up after retransmissions, `segments_in` how many segments came. One that the kernel gave up
/// for want of an answer to its keep-alive or zero-window probes looks like a reset: no call tells of these timers. A reset that comes
/// after both sides were done sending (in FIN-WAIT-2 the peer has acknowledged all; in LAST-ACK and CLOSING both FINs are
/// there) looks like an orderly end, and takes nothing from anybody.
#[inline(always)]
#[must_use]
pub const fn ending(before: u32, expired: bool, segments_in: u32) -> u8 {
    match before {
        _ if expired => end::TIMED_OUT,
        state::FIN_WAIT2 | state::CLOSING | state::LAST_ACK => end::CLOSED,
        // What comes to a socket in this state without establishing it is a reset; ICMP is no segment.
        state::SYN_SENT if segments_in > 0 => end::REFUSED,
        state::SYN_SENT => end::ABANDONED,
        _ => end::RESET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_refused_by_a_segment_times_out_by_the_timer_and_is_else_abandoned() {
        assert_eq!(ending(state::SYN_SENT, false, 1), end::REFUSED);
        assert_eq!(ending(state::SYN_SENT, true, 0), end::TIMED_OUT);
        assert_eq!(ending(state::SYN_SENT, false, 0), end::ABANDONED);
    }

    #[test]
    fn a_connection_closes_when_both_ends_did_and_is_reset_before() {
        for before in [state::FIN_WAIT2, state::CLOSING, state::LAST_ACK] {
            assert_eq!(ending(before, false, 9), end::CLOSED);
        }
        for before in [
            state::ESTABLISHED,
            state::SYN_RECV,
            state::FIN_WAIT1,
            state::CLOSE_WAIT,
        ] {
            assert_eq!(ending(before, false, 9), end::RESET);
            assert_eq!(ending(before, true, 9), end::TIMED_OUT);
        }
    }
}
