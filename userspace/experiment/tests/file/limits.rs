//! Files made to hurt the one who reads them.

use std::fmt::Write;
use std::path::Path;

use galileo_experiment::file::{ExperimentFile, FileError};
use proptest::prelude::*;

use crate::{messages, parse};

#[test]
fn aliases_that_unfold_to_billions_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let error = parse(&text).unwrap_err();
    let [problem] = error.problems() else {
        panic!("one problem")
    };
    // The tenth value of a4 is the first that does not fit any more.
    let column = "a4: &a4 [".len() + 9 * "*a3, ".len() + 1;
    assert_eq!((problem.line, problem.column), (5, column));
    assert_eq!(
        problem.message,
        "more than 100000 values, those behind an alias counted at every use"
    );
}

#[test]
fn an_anchor_that_contains_itself_is_refused() {
    assert_eq!(
        messages("name: &a [»*a]"),
        ["an anchor may not contain itself"]
    );
    assert_eq!(
        messages("name: &a {b: [{c: »*a}]}"),
        ["an anchor may not contain itself"]
    );
}

#[test]
fn deep_nesting_is_refused() {
    let flow = "[".repeat(100_000);
    let block = (0..40)
        .map(|level| format!("{}a:\n", " ".repeat(level)))
        .collect::<String>();
    for text in [flow, block, "- ".repeat(1000)] {
        let error = parse(&text).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
    }
}

#[test]
fn a_mapping_with_very_many_problems_ends() {
    let text = (0..20_000)
        .map(|n| format!("k{n}: 1\n"))
        .collect::<String>();
    let error = parse(&text).unwrap_err();
    assert!(error.problems().len() == 200);
    assert!(error.to_string().lines().count() < 100);
}

#[test]
fn one_very_long_line_of_problems_ends() {
    let pairs = (0..20_000)
        .map(|n| format!("env{n}: é{n}"))
        .collect::<Vec<_>>()
        .join(", ");
    for text in [
        format!("{{{pairs}}}"),
        format!("{{{pairs}"),
        format!("services: {{a: {{{pairs}}}}}"),
    ] {
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.lines().count() < 100);
        assert!(!shown.contains('é'), "{shown}");
    }
}

#[test]
fn a_file_above_one_mebibyte_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.yaml");
    let text = format!(
        "services: {{a: {{command: a}}}}\nduration: 1s\n#{}",
        "x".repeat(1 << 20)
    );
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(
        ExperimentFile::read(&path),
        Err(FileError::TooLarge { .. })
    ));
    assert!(matches!(parse(&text), Err(FileError::TooLarge { .. })));
    assert!(matches!(
        ExperimentFile::read(Path::new("/dev/zero")),
        Err(FileError::TooLarge { .. })
    ));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let error = ExperimentFile::read("/nowhere/lab.yaml".as_ref()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/lab.yaml cannot be read: No such file or directory (os error 2)"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.yaml");
    std::fs::write(&path, b"# one\nname: caf\xe9\n").unwrap();
    let error = ExperimentFile::read(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}:2: not UTF-8 text", path.display())
    );
}

/// Pieces that YAML gives a meaning, and words of experiment files.
fn yamlish() -> impl Strategy<Value = String> {
    const PIECES: [&str; 50] = [
        "services",
        "workloads",
        "nodes",
        "env",
        "web",
        "command",
        "port",
        "8080",
        "duration",
        "20s",
        "arrival",
        "poisson",
        "200/s",
        "weights",
        "limits",
        "memory",
        "64MiB",
        "health",
        "request",
        "headers",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "'",
        "\"",
        "|",
        ">-",
        "#",
        "!!str ",
        "? ",
        "---\n",
        "%YAML 1.2\n",
        "\t",
        "\\",
        "é",
        "\u{feff}",
        "\0",
        "<<",
        "~",
        "\r\n",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_of_yaml_pieces_makes_the_reader_panic(text in yamlish()) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_text_at_all_makes_the_reader_panic(text: String) {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
