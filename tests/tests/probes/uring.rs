//! Bytes that `io_uring` gives to the kernel: no system call of the sender's tells of them, and another task may send them.

use std::{
    io::{self, ErrorKind, Read},
    net::TcpStream,
    os::fd::AsRawFd,
    thread,
};

use galileo_probes::{Config, Role};
use galileo_tests::{
    pod,
    talk::Talk,
    turn,
    watch::{Watch, of_role},
};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types::Fd};

/// Of an answer: some packets, of several pages each.
const BODY: usize = 200_000;

/// The operations that send, by name and number.
const SENDS: [(&str, u8); 3] = [
    ("write", opcode::Write::CODE),
    ("send", opcode::Send::CODE),
    // From the sender's own pages; since 6.0.
    ("send_zc", opcode::SendZc::CODE),
];

/// An operation that sends the begin of `bytes`, or all.
fn entry(code: u8, socket: &TcpStream, bytes: &[u8]) -> squeue::Entry {
    let (fd, begin) = (Fd(socket.as_raw_fd()), bytes.as_ptr());
    let length = u32::try_from(bytes.len()).unwrap();
    match code {
        opcode::Write::CODE => opcode::Write::new(fd, begin, length).build(),
        opcode::Send::CODE => opcode::Send::new(fd, begin, length).build(),
        opcode::SendZc::CODE => opcode::SendZc::new(fd, begin, length).build(),
        _ => unreachable!("it is none of those that send"),
    }
}

/// Sends all bytes, by as many operations as that takes.
fn send(ring: &mut IoUring, code: u8, flags: squeue::Flags, socket: &TcpStream, bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        let entry = entry(code, socket, &bytes[sent..]).flags(flags);
        // SAFETY: socket and bytes outlive the operation, whose last completion is waited for below.
        unsafe { ring.submission().push(&entry) }.expect("the queue is empty");
        // Pages of the sender's own are told to be free by a completion of its own.
        let mut last = false;
        while !last {
            ring.submit_and_wait(1).expect("the ring is there");
            for completion in ring.completion() {
                let done = completion.result();
                assert!(done >= 0, "{}", io::Error::from_raw_os_error(-done));
                if !cqueue::notif(completion.flags()) {
                    sent += done as usize;
                }
                last = !cqueue::more(completion.flags());
            }
        }
    }
}

#[test]
fn what_is_sent_by_io_uring_is_seen_as_any_other() {
    let _turn = turn();
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            galileo_skips::skip(format!("the kernel lets nobody use io_uring: {error}"));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .expect("since 5.6");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![b'x'; BODY]].concat();
    let mut talk = Talk::new();
    let mut expected = Vec::new();
    // By the task itself as far as it can, and by a worker of the kernel's.
    let ways = [
        ("own", squeue::Flags::empty()),
        ("worker", squeue::Flags::ASYNC),
    ];
    for (name, code) in SENDS {
        if !known.is_supported(code) {
            println!("this kernel's io_uring has no {name}");
            continue;
        }
        for (way, flags) in ways {
            let path = format!("/{name}/{way}");
            let request = format!("GET {path} HTTP/1.1\r\nx-galileo-request-id: {way}\r\n\r\n");
            send(&mut ring, code, flags, &talk.client, request.as_bytes());
            talk.server.read_exact(&mut vec![0; request.len()]).unwrap();
            thread::scope(|scope| {
                let read = scope.spawn(|| talk.client.read_exact(&mut vec![0; answer.len()]));
                send(&mut ring, code, flags, &talk.server, &answer);
                read.join().unwrap().unwrap();
            });
            let bytes = (request.len() as u64, answer.len() as u64);
            expected.push((path, way.to_owned(), 200, bytes, 0));
        }
    }
    let seen = watch.wait_for(talk.port, 2 * expected.len());
    for role in [Role::Server, Role::Client] {
        let found: Vec<_> = of_role(&seen, role)
            .iter()
            .map(|exchange| {
                assert_eq!(exchange.cgroup, pod::own_cgroup());
                let id = exchange.request_id.unwrap_or_default().to_string();
                let bytes = (exchange.request_bytes, exchange.response_bytes);
                let flags = exchange.flags & !galileo_probes::flags::PEER_TIMES;
                (exchange.path.to_string(), id, exchange.status, bytes, flags)
            })
            .collect();
        assert_eq!(found, expected, "{role:?}");
    }
}
