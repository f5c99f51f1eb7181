//! Waiting until replicas answer.

use std::time::{Duration, Instant};

use galileo_experiment::local::{Error, Health, Port, ReplicaSpec};
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, command, script};

/// A server that answers every request with one status, once it listens.
fn server(name: &str, status: &str) -> ReplicaSpec {
    let text = format!(
        "use IO::Socket::INET; \
         my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{{PORT}}, Listen => 9, ReuseAddr => 1) or die $!; \
         while (my $c = $s->accept) {{ while (<$c>) {{ last if /^\\r?$/ }} print $c \"HTTP/1.1 {status} X\\r\\nContent-Length: 0\\r\\n\\r\\n\"; close $c }}"
    );
    ReplicaSpec {
        port: Port::Free,
        ..command(name, &["perl", "-e", &text])
    }
}

#[tokio::test]
async fn server_is_ready_when_it_answers_well() {
    let ground = Ground::new();
    let mut platform = ground.open("ready");
    let cancel = CancellationToken::new();
    let moved = platform.start(server("web-0", "302")).unwrap();
    moved
        .wait_ready(
            &Health::Http("/health".to_owned()),
            Duration::from_secs(20),
            &cancel,
        )
        .await
        .unwrap();
    let plain = platform.start(server("web-1", "500")).unwrap();
    plain
        .wait_ready(&Health::Tcp, Duration::from_secs(20), &cancel)
        .await
        .unwrap();
}

#[tokio::test]
async fn answer_with_an_error_is_not_ready_and_named() {
    let ground = Ground::new();
    let mut platform = ground.open("status");
    let replica = platform.start(server("web-0", "503")).unwrap();
    replica
        .wait_ready(
            &Health::Tcp,
            Duration::from_secs(20),
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    let health = Health::Http("/".to_owned());
    // Time for one answer at least, on a busy machine too.
    let limit = Duration::from_secs(2);
    let error = replica
        .wait_ready(&health, limit, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("is answered with status 503"),
        "{error}"
    );
}

#[tokio::test]
async fn server_that_dies_at_once_is_noticed_at_once_with_its_last_words() {
    let ground = Ground::new();
    let mut platform = ground.open("dies");
    let spec = script(
        "web-0",
        "echo loading; echo 'boom: no configuration' >&2; exit 3",
    );
    let replica = platform
        .start(ReplicaSpec {
            port: Port::Free,
            ..spec
        })
        .unwrap();
    let begin = Instant::now();
    let error = replica
        .wait_ready(
            &Health::Tcp,
            Duration::from_secs(60),
            &CancellationToken::new(),
        )
        .await
        .unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(
        error.to_string(),
        "web-0 ended with exit code 3 before it was ready; it printed:\n  | boom: no configuration"
    );
}

#[tokio::test]
async fn server_that_never_listens_is_given_up_in_time() {
    let ground = Ground::new();
    let mut platform = ground.open("never");
    let spec = ReplicaSpec {
        port: Port::Free,
        ..script("web-0", "echo thinking; exec sleep 1000")
    };
    let replica = platform.start(spec).unwrap();
    let limit = Duration::from_secs(2);
    let error = replica
        .wait_ready(&Health::Tcp, limit, &CancellationToken::new())
        .await
        .unwrap_err();
    match &error {
        Error::NotReady {
            waited,
            last,
            output,
            ..
        } => {
            assert_eq!(*waited, limit);
            assert!(last.contains("onnection refused"), "{last}");
            assert_eq!(output, "thinking");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn cancelling_ends_the_wait() {
    let ground = Ground::new();
    let mut platform = ground.open("cancel");
    let spec = ReplicaSpec {
        port: Port::Free,
        ..script("web-0", "exec sleep 1000")
    };
    let replica = platform.start(spec).unwrap();
    let cancel = CancellationToken::new();
    let waiting = replica.wait_ready(&Health::Tcp, Duration::from_secs(600), &cancel);
    let (waited, ()) = tokio::join!(waiting, async { cancel.cancel() });
    assert!(matches!(waited, Err(Error::Cancelled)));
}
