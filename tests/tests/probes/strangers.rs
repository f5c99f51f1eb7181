//! Connections that do not speak HTTP/1.x.

use std::{path::Path, process::Command};

use galileo_probes::{Config, Ledger};
use galileo_tests::{free_port, pod::Pod, turn, watch::Watch};

/// Requests over one connection.
const REQUESTS: usize = 20;

/// Makes a key and a certificate of its own in a folder.
fn certify(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args([
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key",
            "-out",
            "certificate",
        ])
        .current_dir(folder)
        .output()
        .expect("openssl can be started");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

#[test]
fn http_2_and_tls_are_left_alone_and_counted() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (server, client) = (Pod::new("server"), Pod::new("client"));
    let folder = tempfile::tempdir().expect("a folder for its files");
    certify(folder.path());
    let [plain, frames, tls] = [(); 3].map(|()| free_port());
    let here = folder.path().display();
    let _nginx = server.nginx(
        folder.path(),
        plain,
        &format!(
            "listen 127.0.0.1:{frames} http2; listen 127.0.0.1:{tls} ssl http2; ssl_certificate {here}/certificate; \
             ssl_certificate_key {here}/key; location / {{ return 200 \"fine\\n\"; }}"
        ),
    );
    let before = watch.snapshot();
    let many = format!("[1-{REQUESTS}]");
    let ways: [(&[&str], String, usize); 4] = [
        // One, as curl 7.88 cannot go on with nginx 1.22 on such a connection.
        (
            &["--http2-prior-knowledge"],
            format!("http://127.0.0.1:{frames}/"),
            1,
        ),
        (
            &["--insecure", "--http1.1"],
            format!("https://127.0.0.1:{tls}/{many}"),
            REQUESTS,
        ),
        (
            &["--insecure", "--http2"],
            format!("https://127.0.0.1:{tls}/{many}"),
            REQUESTS,
        ),
        // Last: when these are seen, nothing of those before can come.
        (&[], format!("http://127.0.0.1:{plain}/{many}"), REQUESTS),
    ];
    for (options, url, count) in &ways {
        let mut curl = client.start(&[&["curl", "-sS", url], *options].concat());
        for _ in 0..*count {
            assert_eq!(curl.line(), "fine", "{url}");
        }
    }
    watch.wait_for(plain, 2 * REQUESTS);
    for port in [frames, tls] {
        assert_eq!(watch.seen(port), []);
    }
    let used = watch.snapshot().since(&before);
    // Each of the three connections at both ends.
    for pod in [&server, &client] {
        let counted = used.cgroups[&pod.id].ledger[&Ledger::NotHttp];
        assert_eq!(counted, 3, "{:?}", used.cgroups[&pod.id].ledger);
    }
    assert_eq!(used.cgroups[&server.id].server.count, REQUESTS as u64);
}
