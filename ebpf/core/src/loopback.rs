//! Connections that have both ends on this machine. Each segment passes by at both, with the same bytes. Once such a connection is
//! known to speak HTTP, it is looked at at its server's end only, which tells its exchanges for both.
//!
//! The client hands over when it begins a request while nothing else is under way: it has received all answers, so the server's
//! end has told all exchanges so far for itself; and the server's end has not seen the request yet, so all from it on are
//! told once, for both.

use galileo_ebpf_abi::role;

use crate::{
    http::{Stream, mark, state},
    socket::{Socket, watched},
};

/// Whether a client that sends the byte of this sequence number may ask its peer. It is not worth it before the second request;
/// if it fails it is tried again, ever more seldom.
#[inline(always)]
#[must_use]
pub fn may_hand_over(client: &Socket, sequence: u32) -> bool {
    let [_, sent] = &client.streams;
    is_calm(client, role::CLIENT)
        && client.answers().is_power_of_two()
        && sent.next_seq == sequence
        // A socket may be its own peer.
        && client.record.local_port != client.record.remote_port
}

/// Leaves the connection to its server's end, which is to tell the exchanges also for the client's cgroup, of the slot
/// `client_slot`. False if that end does not stand where this one does.
#[inline(always)]
pub fn hand_over(client: &mut Socket, server: &mut Socket, client_slot: u32) -> bool {
    let [from_server, to_server] = &client.streams;
    let [from_client, to_client] = &server.streams;
    if !is_calm(server, role::SERVER)
        || from_client.next_seq != to_server.next_seq
        || to_client.next_seq != from_server.next_seq
        // What is certain at this end is not to become doubtful.
        || (server.doubt != 0 && client.doubt == 0)
        || server.record.local_port != client.record.remote_port
        || server.record.remote_port != client.record.local_port
    {
        return false;
    }
    server.record.peer_cgroup_id = client.record.cgroup_id;
    server.peer_slot = client_slot.into();
    server.watched = watched::HERE_FOR_BOTH;
    client.watched = watched::AT_THE_PEER;
    true
}

/// Whether the place in the connection is known, it is this end's to look at, and nothing is under way.
#[inline(always)]
fn is_calm(socket: &Socket, role: u8) -> bool {
    let between_messages = |stream: &Stream| {
        stream.flags == mark::OF_CONNECTION
            && stream.state == state::START
            && stream.end_known == 0
            && stream.interim == 0
    };
    let [received, sent] = &socket.streams;
    socket.role == role
        && socket.watched == watched::HERE
        && socket.requests() == socket.answers()
        && between_messages(received)
        && between_messages(sent)
}
