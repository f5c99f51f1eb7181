//! Connections that have both ends on this machine. Each segment passes by at both, with the same bytes. Once such a connection is
//! known to speak HTTP, it is looked at at its server's end only, which tells its exchanges for both.
//!
//! The client hands over when it begins a request while nothing else is under way: it has received all answers, so the server's
//! end has told all exchanges so far for itself; and the server's end has not seen the request yet, so all from it on are
//! told once, for both.

use galileo_ebpf_abi::role;

use crate::{
    connection::{SENT, set_lost},
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

/// Where a client stands whose server ends its side, each as the sequence number of the next byte.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Of what it has received.
    pub received: u32,
    /// Of what it has sent.
    pub sent: u32,
    /// Of what of that the server has acknowledged.
    pub acknowledged: u32,
}

/// The server ends its side: what this client still sends may find no socket there. From here on each end looks for itself. The
/// client's socket reads on behind what it has sent, unless that ends amid a request, as far as is known: what the server's end knows of
/// it stays there, and its place is lost here.
#[inline(always)]
pub fn take_back(client: &mut Socket, server: Option<&mut Socket>, standing: Standing) {
    let mut is_between = standing.acknowledged == standing.sent;
    if let Some(server) = server
        && server.watched == watched::HERE_FOR_BOTH
        && server.record.local_port == client.record.remote_port
        && server.record.remote_port == client.record.local_port
    {
        server.watched = watched::HERE;
        let [from_client, _] = &server.streams;
        is_between = from_client.next_seq == standing.sent && is_between_messages(from_client);
        // Requests that are not answered go with the client, too.
        let outstanding = server.requests().wrapping_sub(server.answers());
        client.set_requests(client.answers().wrapping_add(outstanding));
    }
    let [from_server, to_server] = &mut client.streams;
    from_server.next_seq = standing.received;
    to_server.next_seq = standing.sent;
    if !is_between {
        to_server.state = state::LOST;
        set_lost(client, SENT, true);
    }
    client.watched = watched::HERE;
}

/// Whether the place in the connection is known, it is this end's to look at, and nothing is under way.
#[inline(always)]
fn is_calm(socket: &Socket, role: u8) -> bool {
    let [received, sent] = &socket.streams;
    socket.role == role
        && socket.watched == watched::HERE
        && socket.requests() == socket.answers()
        && is_between_messages(received)
        && is_between_messages(sent)
}

#[inline(always)]
fn is_between_messages(stream: &Stream) -> bool {
    stream.flags == mark::OF_CONNECTION
        && stream.state == state::START
        && stream.end_known == 0
        && stream.interim == 0
}

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;

    use super::*;

    /// Both ends of a connection that has had one exchange.
    fn ends() -> [Socket; 2] {
        [
            (role::CLIENT, 100, 200, [9000, 80]),
            (role::SERVER, 200, 100, [80, 9000]),
        ]
        .map(|(role, received, sent, [local, remote])| {
            // SAFETY: integers, each of which may be zero.
            let mut socket: Socket = unsafe { MaybeUninit::zeroed().assume_init() };
            socket.role = role;
            for (stream, next_seq) in socket.streams.iter_mut().zip([received, sent]) {
                stream.flags = mark::OF_CONNECTION;
                stream.next_seq = next_seq;
            }
            socket.set_requests(1);
            socket.set_answers(1);
            socket.record.cgroup_id = u64::from(local);
            socket.record.local_port = local;
            socket.record.remote_port = remote;
            socket
        })
    }

    /// Whether the client hands over when it sends the byte 200.
    fn hands_over(client: &mut Socket, server: &mut Socket) -> bool {
        may_hand_over(client, 200) && hand_over(client, server, 7)
    }

    #[test]
    fn a_calm_client_leaves_the_connection_to_a_server_that_stands_where_it_does() {
        let [mut client, mut server] = ends();
        assert!(hands_over(&mut client, &mut server));
        assert_eq!(
            (client.watched, server.watched),
            (watched::AT_THE_PEER, watched::HERE_FOR_BOTH)
        );
        assert_eq!(
            (server.record.peer_cgroup_id, server.peer_slot),
            (u64::from(client.record.local_port), 7)
        );
    }

    #[test]
    fn otherwise_each_end_looks_for_itself() {
        type Spoil = fn(&mut Socket, &mut Socket);
        let spoilt: [(&str, Spoil); 17] = [
            ("another byte is sent", |client, _| {
                client.streams[1].next_seq = 199;
            }),
            ("the client has a request under way", |client, _| {
                client.set_requests(2);
            }),
            ("the server has one", |_, server| server.set_requests(2)),
            ("three answers are no power of two", |client, _| {
                client.set_requests(3);
                client.set_answers(3);
            }),
            ("no exchange yet", |client, _| {
                client.set_requests(0);
                client.set_answers(0);
            }),
            ("the client is in an answer's body", |client, _| {
                client.streams[0].state = state::BODY;
            }),
            ("the server is in a request's", |_, server| {
                server.streams[0].state = state::BODY;
            }),
            ("interim answers came", |client, _| {
                client.streams[0].interim = 1;
            }),
            ("bytes came early", |_, server| {
                server.streams[0].flags |= mark::EARLY;
            }),
            ("the end is known", |client, _| {
                client.streams[0].end_known = 1;
            }),
            ("the server has not seen all", |_, server| {
                server.streams[0].next_seq = 150;
            }),
            ("the client has not seen all", |_, server| {
                server.streams[1].next_seq = 150;
            }),
            ("only the server is in doubt", |_, server| server.doubt = 8),
            ("the peer is no server", |_, server| {
                server.role = role::CLIENT;
            }),
            ("the peer talks to another", |_, server| {
                server.record.remote_port = 1;
            }),
            ("the socket is its own peer", |client, server| {
                client.record.local_port = 80;
                server.record.remote_port = 80;
            }),
            ("somebody else looks", |_, server| {
                server.watched = watched::HERE_FOR_BOTH;
            }),
        ];
        for (what, spoil) in spoilt {
            let [mut client, mut server] = ends();
            spoil(&mut client, &mut server);
            assert!(!hands_over(&mut client, &mut server), "{what}");
            assert_eq!(client.watched, watched::HERE, "{what}");
        }
        // In doubt are both, or the client alone.
        for of_server in [0, 8] {
            let [mut client, mut server] = ends();
            (client.doubt, server.doubt) = (8, of_server);
            assert!(hands_over(&mut client, &mut server));
        }
    }

    const STANDING: Standing = Standing {
        received: 180,
        sent: 260,
        acknowledged: 200,
    };

    /// Both ends, handed over, of which the server's has looked at all that the client sent.
    fn handed_over() -> [Socket; 2] {
        let [mut client, mut server] = ends();
        assert!(hands_over(&mut client, &mut server));
        server.streams[0].next_seq = STANDING.sent;
        [client, server]
    }

    #[test]
    fn when_the_server_ends_each_looks_for_itself_again() {
        let [mut client, mut server] = handed_over();
        server.set_requests(3);
        server.set_answers(2);

        take_back(&mut client, Some(&mut server), STANDING);

        assert_eq!(
            (client.watched, server.watched),
            (watched::HERE, watched::HERE)
        );
        assert_eq!(client.requests().wrapping_sub(client.answers()), 1);
        let stands = |stream: Stream| (stream.next_seq, stream.state);
        assert_eq!(
            client.streams.map(stands),
            [(180, state::START), (260, state::START)]
        );
    }

    #[test]
    fn of_a_request_that_is_under_way_then_the_client_knows_nothing() {
        type Change = fn(&mut Socket);
        let ways: [Change; 2] = [
            |server| server.streams[0].state = state::HEAD,
            |server| server.streams[0].next_seq = 250,
        ];
        for change in ways {
            let [mut client, mut server] = handed_over();
            change(&mut server);
            take_back(&mut client, Some(&mut server), STANDING);
            assert_eq!(client.streams[1].next_seq, 260);
            assert_eq!(client.streams[1].state, state::LOST);
            assert_eq!(client.lost, [0, 1]);
        }
    }

    #[test]
    fn of_a_server_that_is_gone_the_client_knows_what_it_has_acknowledged() {
        for (acknowledged, expected) in [(260, state::START), (200, state::LOST)] {
            let [mut client, mut server] = handed_over();
            // Another connection has its ports meanwhile.
            server.watched = watched::HERE;
            for server in [None, Some(&mut server)] {
                let standing = Standing {
                    acknowledged,
                    ..STANDING
                };
                take_back(&mut client, server, standing);
                assert_eq!(client.watched, watched::HERE);
                assert_eq!(client.streams.map(|stream| stream.next_seq), [180, 260]);
                assert_eq!(client.streams[1].state, expected);
                assert_eq!(client.requests(), client.answers());
            }
        }
    }
}
