//! HTTP exchanges between pods in network namespaces of their own.

use std::{collections::BTreeSet, fs, path::Path};

use galileo_probes::{Config, Role};
use galileo_tests::{
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::Watch,
    wire::{Namespace, Wire},
};

const BIG: u64 = 1_000_000;

/// Starts nginx in a namespace, on port 80 of its addresses.
fn nginx(pod: &Pod, folder: &Path, namespace: &Namespace) -> Process {
    fs::write(folder.join("big"), vec![b'x'; BIG as usize]).unwrap();
    let here = folder.display();
    let path = folder.join("nginx.conf");
    let listen = format!("listen {}:80; listen [{}]:80;", namespace.v4, namespace.v6);
    let text = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {here}/body;\n\
         proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi;\n\
         scgi_temp_path {here}/scgi; sendfile on;\n\
         server {{ {listen} root {here}; location = /small {{ return 200 \"fine\\n\"; }} }} }}\n"
    );
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let command = namespace.command(&["nginx", "-c", &path]);
    let process = pod.start(&command.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    until("nginx listens", || {
        let sockets = namespace.sockets().listeners;
        (sockets.len() == 2).then_some(())
    });
    process
}

/// Asks for the small and the big file in turn, in four threads, on kept connections and on new ones.
const CLIENT: &str = r#"
import http.client, sys, threading
def ask(thread):
    kept = http.client.HTTPConnection(sys.argv[1], 80)
    for index in range(int(sys.argv[2])):
        connection = kept if index % 4 else http.client.HTTPConnection(sys.argv[1], 80)
        path = "/big" if index % 10 == 0 else "/small"
        headers = {"x-galileo-request-id": f"{sys.argv[1]}-{thread}-{index}"}
        if index % 4 == 0:
            headers["Connection"] = "close"
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("done")
input()
"#;

#[test]
fn every_exchange_over_a_wire_is_seen_at_both_ends_whole_segmented_and_merged() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let requests = 200;
    // What a veth does by itself: whole packets as they were sent; then segments, merged behind the wire.
    for (segment, merge) in [(false, false), (true, false), (true, true)] {
        let wire = Wire::new();
        for end in [&wire.left, &wire.right] {
            if segment {
                end.run("ethtool -K wire tso off gso off");
            }
            if merge {
                end.run("ethtool -K wire gro on");
            }
        }
        let [here, there] = ["client", "server"].map(Pod::new);
        let folder = tempfile::tempdir().unwrap();
        let _nginx = nginx(&there, folder.path(), &wire.right);
        for address in [wire.right.v4, wire.right.v6] {
            let arguments = [address, &requests.to_string()];
            let mut client = here.python_inside(&wire.left, CLIENT, &arguments);
            assert_eq!(watch.meanwhile(80, || client.line()), "done");
        }
        let expected: BTreeSet<String> = [wire.right.v4, wire.right.v6]
            .iter()
            .flat_map(|address| (0..4).map(move |thread| format!("{address}-{thread}")))
            .flat_map(|ids| (0..requests).map(move |index| format!("{ids}-{index}")))
            .collect();
        for (pod, role) in [(&there, Role::Server), (&here, Role::Client)] {
            let seen = watch.wait_for_in(pod.id, role, 80, expected.len());
            let ids: BTreeSet<_> = seen
                .iter()
                .filter_map(|one| one.request_id.map(|id| id.to_string()))
                .collect();
            assert_eq!(ids, expected);
            for exchange in &seen {
                assert_eq!(exchange.status, 200);
                let big = exchange.response_bytes > BIG;
                assert_eq!(
                    &*exchange.path,
                    if big { "/big" } else { "/small" },
                    "{exchange:?}"
                );
            }
        }
    }
}
