//! What was counted of TCP connections by cgroup.

use galileo_ebpf_abi::TcpCounters;

use crate::durations::Durations;

/// TCP connections of one cgroup since the probes were loaded. Those that were open before are not in it; see
/// [`sockets`](crate::sockets) for them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TcpStats {
    /// Connections it opened.
    pub connected: u64,
    /// Connections that were opened to its listening sockets, whether the application has taken them or not. One counts when the
    /// first of what it sends is acknowledged, or when it ends.
    pub accepted: u64,
    /// Attempts that the peer answered with a reset.
    pub refused: u64,
    /// Attempts that the kernel gave up because no answer came (`net.ipv4.tcp_syn_retries`, some two minutes).
    pub timed_out: u64,
    /// Attempts that ended without an answer before: the application closed the socket, or an ICMP message told that the peer
    /// cannot be reached. What fails for want of a route or a local port never becomes an attempt.
    pub abandoned: u64,
    /// Established connections that ended.
    pub closed: u64,
    /// Of which before both directions were closed: by a reset, or because nothing was acknowledged any more.
    pub aborted: u64,
    /// Segments retransmitted, SYNs included: `tcpi_total_retrans` of its connections.
    pub retransmits: u64,
    /// Times that a retransmission timer ran out; a round trip is missed by at least 200 ms then.
    pub timeouts: u64,
    /// Segments with data sent, retransmissions included (`tcpi_data_segs_out`): entered at the latest when a connection
    /// ends. [`TcpStats::retransmits`] divided by it is the share that was lost or taken for lost.
    pub data_segments: u64,
    /// How long the connections of `closed` were established, together, in nanoseconds.
    pub established_ns: u64,
    /// Smoothed round-trip time (`tcpi_rtt`) of each of them when it ended.
    pub rtt: Durations,
}

impl Clone for TcpStats {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    /// Keeps the memory that is there.
    fn clone_from(&mut self, source: &Self) {
        for (copy, from) in self.counters().into_iter().zip(source.values()) {
            *copy = from;
        }
        self.rtt.clone_from(&source.rtt);
    }
}

impl TcpStats {
    /// Attempts that failed, in whichever way.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.refused + self.timed_out + self.abandoned
    }

    /// Connections of those counted that are open. The counters are read one after the other: it may be off by what happens
    /// meanwhile.
    #[must_use]
    pub fn open(&self) -> u64 {
        (self.connected + self.accepted).saturating_sub(self.closed)
    }

    /// Goes on to what the kernel side has counted.
    pub(crate) fn advance(&mut self, counted: &TcpCounters) {
        self.connected = counted.connected;
        self.accepted = counted.accepted;
        self.refused = counted.refused;
        self.timed_out = counted.timed_out;
        self.abandoned = counted.abandoned;
        self.closed = counted.closed;
        self.aborted = counted.aborted;
        self.retransmits = counted.retransmits;
        self.timeouts = counted.timeouts;
        self.data_segments = counted.data_segments;
        self.established_ns = counted.established_ns;
        self.rtt.advance(&counted.rtt_buckets, counted.rtt_ns);
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut difference = self.clone();
        for (after, before) in difference.counters().into_iter().zip(before.values()) {
            *after = after.saturating_sub(before);
        }
        difference.rtt = self.rtt.since(&before.rtt);
        difference
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.counters().into_iter().zip(other.values()) {
            *sum += more;
        }
        self.rtt.add(&other.rtt);
    }

    fn counters(&mut self) -> [&mut u64; 11] {
        [
            &mut self.connected,
            &mut self.accepted,
            &mut self.refused,
            &mut self.timed_out,
            &mut self.abandoned,
            &mut self.closed,
            &mut self.aborted,
            &mut self.retransmits,
            &mut self.timeouts,
            &mut self.data_segments,
            &mut self.established_ns,
        ]
    }

    fn values(&self) -> [u64; 11] {
        [
            self.connected,
            self.accepted,
            self.refused,
            self.timed_out,
            self.abandoned,
            self.closed,
            self.aborted,
            self.retransmits,
            self.timeouts,
            self.data_segments,
            self.established_ns,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_told_apart_subtracted_and_added() {
        let mut counted = TcpStats::default();
        for (index, counter) in (1..).zip(counted.counters()) {
            *counter = index;
        }
        let mut twice = counted.clone();
        twice.add(&counted);
        assert_eq!(twice.values(), counted.values().map(|value| 2 * value));
        assert_eq!(twice.since(&counted), counted);
        assert_eq!(counted.failed(), 3 + 4 + 5);
        // 1 connected and 2 accepted less 6 closed cannot be.
        assert_eq!(counted.open(), 0);
    }
}
