//! The bytes of a request.

use std::{
    io::{IoSlice, Write as _},
    rc::Rc,
};

use crate::{ids::Names, workload::Workload};

/// Everything about a workload's requests that does not change from one to the next.
#[derive(Debug)]
pub(crate) struct Template {
    names: Names,
    /// One for each target: request line, `Host`, and the name of the request id's header.
    heads: Vec<Vec<u8>>,
    /// The user's headers, the body's length and the empty line.
    tail: Vec<u8>,
    body: Rc<[u8]>,
}

/// One request as it goes to a socket.
#[derive(Debug)]
pub(crate) struct Message {
    head: Vec<u8>,
    body: Rc<[u8]>,
}

impl Template {
    /// The template of a workload that was checked: its texts are legal where they are written.
    pub(crate) fn new(workload: &Workload, names: Names) -> Self {
        let request = &workload.request;
        let head = |host: &str| {
            format!(
                "{} {} HTTP/1.1\r\nHost: {host}\r\nx-galileo-request-id: ",
                request.method, request.path
            )
            .into_bytes()
        };
        let mut tail = String::from("\r\n");
        for (name, value) in &request.headers {
            tail.extend([name, ": ", value, "\r\n"]);
        }
        // RFC 9110 §8.6: a request of a method that usually has a body says so even if it is empty.
        if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
            tail.extend(["Content-Length: ", &request.body.len().to_string(), "\r\n"]);
        }
        tail.push_str("\r\n");
        Self {
            names,
            heads: workload
                .targets
                .iter()
                .map(|target| head(&target.host))
                .collect(),
            tail: tail.into_bytes(),
            body: request.body.as_slice().into(),
        }
    }

    /// The n-th request (from 1) of a client, with its id.
    pub(crate) fn compose(&self, target: usize, client: u32, n: u64) -> (String, Message) {
        let id = self.names.request_id(client, n);
        let (trace_id, parent_id) = self.names.trace_context(client, n);
        let mut head = Vec::with_capacity(self.heads[target].len() + self.tail.len() + 128);
        head.extend_from_slice(&self.heads[target]);
        write!(
            head,
            "{id}\r\ntraceparent: 00-{trace_id:032x}-{parent_id:016x}-01"
        )
        .expect("writing to memory cannot fail");
        head.extend_from_slice(&self.tail);
        (
            id,
            Message {
                head,
                body: Rc::clone(&self.body),
            },
        )
    }
}

impl Message {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// What is left to write once `written` bytes are.
    pub(crate) fn rest(&self, written: usize) -> [IoSlice<'_>; 2] {
        let in_head = written.min(self.head.len());
        let in_body = written - in_head;
        [
            IoSlice::new(&self.head[in_head..]),
            IoSlice::new(&self.body[in_body..]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arrival, Extent, Target};

    fn message(change: impl FnOnce(&mut Workload)) -> Message {
        let arrival = Arrival::Constant("1/s".parse().unwrap());
        let target = Target {
            addr: ([127, 0, 0, 1], 80).into(),
            host: "web.local".to_owned(),
        };
        let mut workload = Workload::new("web", target, arrival, Extent::Requests(1));
        change(&mut workload);
        Template::new(&workload, Names::new(7, 0))
            .compose(0, 3, 12)
            .1
    }

    #[test]
    fn the_engines_headers_come_first_and_in_order() {
        let written =
            message(|it| it.request.headers = vec![("Accept".to_owned(), "*/*".to_owned())]);
        let text = String::from_utf8(written.head).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        let id = Names::new(7, 0).request_id(3, 12);
        assert_eq!(
            lines[..3],
            [
                "GET / HTTP/1.1",
                "Host: web.local",
                &format!("x-galileo-request-id: {id}")
            ]
        );
        let parts: Vec<_> = lines[3].split('-').collect();
        assert_eq!(
            (parts[0], parts[1].len(), parts[2].len(), parts[3]),
            ("traceparent: 00", 32, 16, "01")
        );
        assert_eq!(lines[4..], ["Accept: */*", "", ""]);
    }

    #[test]
    fn a_body_is_announced_with_its_length() {
        let length = |method: &str, body: &[u8]| {
            let written = message(|it| {
                it.request.method = method.to_owned();
                it.request.body = body.to_vec();
            });
            let text = String::from_utf8(written.head).unwrap();
            text.lines()
                .find_map(|line| line.strip_prefix("Content-Length: ").map(str::to_owned))
        };
        assert_eq!(length("POST", b"hello").as_deref(), Some("5"));
        assert_eq!(length("POST", b"").as_deref(), Some("0"));
        assert_eq!(length("GET", b"x").as_deref(), Some("1"));
        assert_eq!(length("GET", b""), None);
    }

    #[test]
    fn what_is_left_to_write_runs_from_head_into_body() {
        let written = message(|it| it.request.body = b"hello".to_vec());
        let whole = [written.head.as_slice(), b"hello"].concat();
        assert_eq!(written.len(), whole.len());
        for from in 0..=whole.len() {
            assert_eq!(
                written.rest(from).map(|part| part.to_vec()).concat(),
                whole[from..]
            );
        }
    }
}
