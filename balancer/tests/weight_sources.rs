//! One contract for all sources of weights.

use std::path::{Path, PathBuf};
use std::time::Duration;

use galileo_balancer::{Error, FileWeights, Host, InProcessWeights, WeightSource, Weights};
use tempfile::TempDir;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any source takes to tell a change; only waited for where nothing is to come.
const SILENCE: Duration = Duration::from_millis(1200);

/// A source and the hand that writes into it.
trait Seam {
    type Source: WeightSource;

    fn new(first: &Weights) -> (Self, Self::Source)
    where
        Self: Sized;

    fn write(&self, weights: &Weights);
}

/// Weights of one service `web`.
fn web(replicas: &[(&str, u32)]) -> Weights {
    let mut weights = Weights::default();
    let replicas = replicas
        .iter()
        .map(|(host, weight)| (host.parse().expect("a host"), *weight))
        .collect();
    weights.set("web", replicas).expect("a service");
    weights
}

async fn next(source: &mut impl WeightSource) -> Weights {
    let next = tokio::time::timeout(PATIENCE, source.next()).await;
    next.expect("the source tells in time")
        .expect("the source goes on")
}

async fn silence(source: &mut impl WeightSource) {
    let next = tokio::time::timeout(SILENCE, source.next()).await;
    assert!(next.is_err(), "the source told {next:?}");
}

async fn keeps_the_contract<S: Seam>() {
    let first = web(&[("127.0.0.1:1", 9), ("127.0.0.1:2", 1)]);
    let (hand, mut source) = S::new(&first);

    // The first call tells the table as it is.
    assert_eq!(next(&mut source).await, first);
    // The same again is no change.
    hand.write(&first);
    silence(&mut source).await;
    // A change is told, also if the one who waited was dropped meanwhile.
    let second = web(&[("127.0.0.1:1", 0), ("[::1]:3", 7)]);
    let dropped = tokio::time::timeout(Duration::from_millis(1), source.next()).await;
    assert!(dropped.is_err());
    hand.write(&second);
    assert_eq!(next(&mut source).await, second);
    // Only the newest state counts, and it always comes.
    let last = web(&[("127.0.0.1:9", 3)]);
    hand.write(&web(&[]));
    hand.write(&last);
    while next(&mut source).await != last {}
    // A service that is gone is a change.
    hand.write(&Weights::default());
    assert_eq!(next(&mut source).await, Weights::default());
}

impl Seam for InProcessWeights {
    type Source = galileo_balancer::InProcessSource;

    fn new(first: &Weights) -> (Self, Self::Source) {
        let weights = Self::new();
        weights.write(first);
        let source = weights.source();
        (weights, source)
    }

    fn write(&self, weights: &Weights) {
        match weights.replicas("web") {
            Some(replicas) => self.set("web", replicas.to_vec()).expect("a service"),
            None => self.remove("web"),
        }
    }
}

struct InFile {
    path: PathBuf,
    _folder: TempDir,
}

impl InFile {
    fn write_text(&self, text: &str) {
        // As every careful writer does it: nobody sees half a file.
        let new = self.path.with_extension("new");
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &self.path))
            .expect("the file is written");
    }
}

fn json(weights: &Weights) -> String {
    let Some(replicas) = weights.replicas("web") else {
        return "{}".to_owned();
    };
    let ips: Vec<_> = replicas.iter().map(|(host, _)| host.as_str()).collect();
    let numbers: Vec<_> = replicas.iter().map(|(_, weight)| weight).collect();
    format!(r#"{{"web": {{"ips": {ips:?}, "weights": {numbers:?}}}}}"#)
}

impl Seam for InFile {
    type Source = FileWeights;

    fn new(first: &Weights) -> (Self, Self::Source) {
        let folder = tempfile::tempdir().expect("a folder");
        let hand = Self {
            path: folder.path().join("weights.json"),
            _folder: folder,
        };
        hand.write(first);
        let source = FileWeights::open(&hand.path).expect("the file is good");
        (hand, source)
    }

    fn write(&self, weights: &Weights) {
        self.write_text(&json(weights));
    }
}

#[tokio::test]
async fn weights_in_the_process_keep_the_contract() {
    keeps_the_contract::<InProcessWeights>().await;
}

#[tokio::test]
async fn weights_in_a_file_keep_the_contract() {
    keeps_the_contract::<InFile>().await;
}

#[tokio::test]
async fn a_file_that_is_bad_or_gone_changes_nothing_until_it_is_good_again() {
    let first = web(&[("127.0.0.1:1", 1)]);
    let (hand, mut source) = InFile::new(&first);
    assert_eq!(next(&mut source).await, first);
    for bad in [
        "",
        "{",
        r#"{"web": {"ips": ["127.0.0.1:1"], "weights": [-1]}}"#,
    ] {
        hand.write_text(bad);
        silence(&mut source).await;
    }
    std::fs::remove_file(&hand.path).expect("it was there");
    silence(&mut source).await;
    // The same as before the trouble is no change, something else is.
    hand.write(&first);
    silence(&mut source).await;
    let second = web(&[("127.0.0.1:2", 1)]);
    hand.write(&second);
    assert_eq!(next(&mut source).await, second);
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = |name: &str| folder.path().join(name);
    let (old, new) = (web(&[("127.0.0.1:1", 1)]), web(&[("127.0.0.1:1", 2)]));
    std::fs::write(in_folder("old"), json(&old)).expect("a file");
    std::fs::write(in_folder("new"), json(&new)).expect("a file");
    let link = |to: &str, at: &Path| std::os::unix::fs::symlink(in_folder(to), at).expect("a link");
    link("old", &in_folder("weights.json"));
    let mut source = FileWeights::open(in_folder("weights.json")).expect("the file is good");
    assert_eq!(next(&mut source).await, old);
    link("new", &in_folder("next"));
    std::fs::rename(in_folder("next"), in_folder("weights.json")).expect("it is renamed");
    assert_eq!(next(&mut source).await, new);
}

#[test]
fn a_file_that_is_bad_at_the_start_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.json");
    let missing = FileWeights::open(&path).expect_err("it is not there");
    assert!(
        matches!(missing, Error::ReadWeights { .. })
            && missing.to_string().contains("weights.json")
    );
    std::fs::write(&path, r#"{"web": {"ips": ["10.0.0.1:80"], "weights": []}}"#).expect("a file");
    let bad = FileWeights::open(&path).expect_err("it is bad").to_string();
    assert!(
        bad.contains("weights.json") && bad.contains("1 ips and 0 weights"),
        "{bad}"
    );
}

#[test]
fn hosts_are_compared_as_written() {
    assert_ne!(
        "localhost:80".parse::<Host>().expect("a host"),
        "127.0.0.1:80".parse().expect("a host")
    );
}
