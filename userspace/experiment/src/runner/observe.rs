//! The exchanges that the probes see, taken to the recorder.

use std::sync::Arc;

use galileo_expdb::{Record, RecordSender};
use galileo_probes::{Exchange, ExchangeStream, Role};
use galileo_wire::records;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    answered::Answered,
    names::{Names, Owner},
    phases::Phases,
};

/// Takes exchanges out of the probes and gives them, named, to the recorder; it ends when this is dropped.
pub(crate) struct Watching {
    task: JoinHandle<Watched>,
    stop: DropGuard,
}

/// How watching went.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Records that said nothing that an exchange can be.
    pub unreadable: u64,
    /// Why it ended early, in a sentence.
    pub problem: Option<String>,
    /// What replicas answered in the measured phase; none if nobody watched.
    pub answered: Option<Answered>,
}

impl Watching {
    pub(crate) fn start(
        stream: ExchangeStream,
        names: Arc<Names>,
        phases: Arc<Phases>,
        records: RecordSender,
    ) -> Self {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(watch(stream, names, phases, records, stop.clone())),
            stop: stop.drop_guard(),
        }
    }

    /// Takes what is still there and ends.
    pub(crate) async fn stop(self) -> Watched {
        drop(self.stop);
        self.task.await.unwrap_or_else(|error| Watched {
            problem: Some(format!(
                "The exchanges were no longer taken from the probes: {error}."
            )),
            ..Watched::default()
        })
    }
}

/// Batches taken at the end: more than fit into the ring, so that traffic which goes on cannot keep a run from ending.
const LAST_BATCHES: u32 = 64;

async fn watch(
    mut stream: ExchangeStream,
    names: Arc<Names>,
    phases: Arc<Phases>,
    records: RecordSender,
    stop: CancellationToken,
) -> Watched {
    let mut problem = None;
    let mut answered = Answered::default();
    let mut give = |batch: &[Exchange]| {
        names.learn(batch.iter().map(|exchange| exchange.cgroup));
        for exchange in batch {
            answered.count(exchange, &names, &phases);
            // What the recorder cannot take it counts.
            records.record(Record::Exchange(named(exchange, &names, &phases)));
        }
    };
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            batch = stream.next_batch() => batch,
        };
        match batch {
            Ok(batch) => give(batch),
            Err(error) => {
                problem = Some(format!("Single exchanges were no longer seen: {error}."));
                break;
            }
        }
    }
    for _ in 0..LAST_BATCHES {
        let rest = stream.drain();
        if rest.is_empty() {
            break;
        }
        give(rest);
    }
    Watched {
        unreadable: stream.unreadable(),
        problem,
        answered: Some(answered),
    }
}

fn named(exchange: &Exchange, names: &Names, phases: &Phases) -> records::Exchange {
    let replica = match names.owner(exchange.cgroup) {
        Owner::Replica(index) => Some(names.replica(index)),
        _ => None,
    };
    records::Exchange {
        role: match exchange.role {
            Role::Server => records::Role::Server,
            Role::Client => records::Role::Client,
        },
        service: replica.map(|replica| replica.service.clone()),
        replica: replica.map(|replica| replica.replica.clone()),
        cgroup: names.path(exchange.cgroup),
        phase: phases.at(exchange.start_ns),
        flags: exchange.flag_names().map(str::to_owned).collect(),
        method: exchange.method.to_string(),
        path: exchange.path.to_string(),
        status: exchange.status,
        interim: Some(exchange.interim),
        local_addr: exchange.local.ip(),
        local_port: exchange.local.port(),
        remote_addr: exchange.remote.ip(),
        remote_port: exchange.remote.port(),
        start_ns: exchange.start_ns,
        request_end_ns: exchange.request_end_ns,
        first_byte_ns: exchange.first_byte_ns,
        end_ns: exchange.end_ns,
        request_bytes: exchange.request_bytes,
        request_head_bytes: Some(exchange.request_head_bytes),
        response_bytes: exchange.response_bytes,
        response_head_bytes: Some(exchange.response_head_bytes),
        request_id: exchange.request_id.map(|id| id.to_string()),
        traceparent: exchange.traceparent.map(|trace| trace.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{path::Path, sync::atomic::Ordering::Relaxed};

    use galileo_probes::{
        Text,
        cgroup::{self, CgroupId},
    };
    use galileo_wire::Phase;

    use super::*;
    use crate::runner::names::Named;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The one replica there is, below this folder, and its cgroup.
    pub(in crate::runner) fn one_replica(tree: &Path) -> (Names, CgroupId) {
        let folder = tree.join("web-0");
        std::fs::create_dir(&folder).unwrap();
        let replica = Named {
            service: "web".to_owned(),
            replica: "web-0".to_owned(),
            path: Some("/web-0".to_owned()),
        };
        let names = Names::new(tree, None, vec![replica]);
        (names, cgroup::id(&folder).unwrap())
    }

    pub(in crate::runner) fn answered_by(cgroup: CgroupId) -> Exchange {
        Exchange {
            cgroup,
            role: Role::Server,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: "[::1]:2".parse().unwrap(),
            method: Text::from("POST").unwrap(),
            path: Text::from("/items").unwrap(),
            status: 201,
            interim: 3,
            start_ns: 10,
            request_end_ns: Some(20),
            first_byte_ns: 30,
            end_ns: 40,
            request_bytes: 60,
            request_head_bytes: 50,
            response_bytes: 80,
            response_head_bytes: 70,
            request_id: Some(Text::from("0123456789:1").unwrap()),
            traceparent: Some(Text::from(TRACE).unwrap()),
            flags: 1 << 4,
        }
    }

    #[test]
    fn what_the_probes_tell_of_an_exchange_is_recorded_whole() {
        let tree = tempfile::tempdir().unwrap();
        let (names, cgroup) = one_replica(tree.path());
        let phases = Phases::default();
        phases.measured_ns.store(5, Relaxed);
        let seen = answered_by(cgroup);
        let other = Exchange {
            cgroup: CgroupId(0),
            role: Role::Client,
            interim: 0,
            start_ns: 4,
            request_end_ns: None,
            request_id: None,
            traceparent: None,
            flags: 0,
            ..seen
        };

        let recorded = [&seen, &other].map(|exchange| named(exchange, &names, &phases));

        let expected = records::Exchange {
            role: records::Role::Server,
            service: Some("web".to_owned()),
            replica: Some("web-0".to_owned()),
            cgroup: "/web-0".to_owned(),
            phase: Phase::Measured,
            method: "POST".to_owned(),
            path: "/items".to_owned(),
            status: 201,
            interim: Some(3),
            local_addr: "127.0.0.1".parse().unwrap(),
            local_port: 1,
            remote_addr: "::1".parse().unwrap(),
            remote_port: 2,
            start_ns: 10,
            request_end_ns: Some(20),
            first_byte_ns: 30,
            end_ns: 40,
            request_bytes: 60,
            request_head_bytes: Some(50),
            response_bytes: 80,
            response_head_bytes: Some(70),
            request_id: Some("0123456789:1".to_owned()),
            traceparent: Some(TRACE.to_owned()),
            flags: vec!["head_cut".to_owned()],
        };
        let of_other = records::Exchange {
            role: records::Role::Client,
            service: None,
            replica: None,
            cgroup: "cgroup:0".to_owned(),
            phase: Phase::Setup,
            interim: Some(0),
            start_ns: 4,
            request_end_ns: None,
            request_id: None,
            traceparent: None,
            flags: vec![],
            ..expected.clone()
        };
        assert_eq!(recorded, [expected, of_other]);
    }
}
