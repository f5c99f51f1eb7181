//! Values of the environment are used and never shown.

use galileo_experiment::file::ExperimentFile;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::{parse, sound, told};

const SECRET: &str = "hunter2hunter2";

/// The masked text of a service with this `env`, which must be read as having `count` secrets.
fn masked(env: &str, count: usize) -> String {
    let text = format!(
        "duration: 1s\nservices:\n  web:\n    command: s\n    env:{env}\n    replicas: 1\n"
    );
    let file = sound(&text);
    let held = file.services[0]
        .env
        .values()
        .filter(|value| value.reveal().contains(SECRET))
        .count();
    assert_eq!(held, count, "{env}");
    let masked = file.masked_source();
    assert!(!masked.contains(SECRET), "{masked}");
    let again = sound(masked);
    let keys = |file: &ExperimentFile| file.services[0].env.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&again),
        keys(&file),
        "the masked text is the same file"
    );
    assert!(
        again.services[0]
            .env
            .values()
            .all(|value| value.reveal().trim() == "***")
    );
    let begin = masked.find("env:").unwrap() + "env:".len();
    masked[begin..masked.find("\n    replicas").unwrap()].to_owned()
}

#[test]
fn flow_style_is_masked() {
    assert_eq!(
        masked(" {A: hunter2hunter2, B: x}", 1),
        " {A: '***', B: '***'}"
    );
    assert_eq!(
        masked(" {A: 'hunter2hunter2', \"B\": \"a hunter2hunter2\" }", 2),
        " {A: '***', \"B\": '***' }"
    );
}

#[test]
fn block_style_is_masked_with_its_comments() {
    let env = "\n      A: hunter2hunter2 # why\n      # next\n      B: 'it''s hunter2hunter2'";
    assert_eq!(
        masked(env, 2),
        "\n      A: '***' # ***\n      # ***\n      B: '***'"
    );
}

#[test]
fn values_of_many_lines_are_masked() {
    assert_eq!(
        masked(
            "\n      A: |\n        hunter2hunter2\n        more\n      B: b",
            1
        ),
        "\n      A: |\n        ***\n      B: '***'"
    );
    assert_eq!(
        masked(
            "\n      A: >-\n\n        x\n\n        hunter2hunter2\n\n      B: b",
            1
        ),
        "\n      A: >-\n\n        ***\n\n      B: '***'"
    );
    assert_eq!(
        masked("\n      A: plain\n        hunter2hunter2\n      B: b", 1),
        "\n      A: '***'\n      B: '***'"
    );
    assert_eq!(
        masked("\n      A: \"x\n        hunter2hunter2\\\n        y\"", 1),
        "\n      A: '***'"
    );
    assert_eq!(
        masked("\n      A: |2\n           indented hunter2hunter2\n", 1),
        "\n      A: |2\n        ***\n"
    );
}

#[test]
fn anchors_keep_their_names_and_aliases_their_places() {
    assert_eq!(
        masked(" {A: &s hunter2hunter2, B: *s}", 2),
        " {A: &s '***', B: *s}"
    );
    let text = "
duration: 1s
services:
  a: {command: a, env: &common {K: hunter2hunter2}}
  b: {command: b, env: *common}
";
    let masked = sound(text).masked_source().to_owned();
    assert_eq!(masked, text.replace(SECRET, "'***'"));
}

#[test]
fn a_value_of_another_key_is_masked_where_the_environment_takes_it_from() {
    let text = "name: &n hunter2hunter2\nduration: 1s\nservices: {a: {command: a, env: {K: *n}}}\n";
    assert_eq!(sound(text).masked_source(), text.replace(SECRET, "'***'"));
}

#[test]
fn comments_that_look_like_former_values_are_masked() {
    assert_eq!(
        masked(
            "\n      A: hunter2hunter2 # was: hunter2hunter2\n      #B: hunter2hunter2\n      # so",
            1
        ),
        "\n      A: '***' # ***\n      # ***\n      # ***"
    );
    let text = "
# env:
#   K: hunter2hunter2
#   more

# a comment: stays
services: {a: {command: a}} # env: {K: hunter2hunter2}
duration: 1s # token=hunter2hunter2
";
    let expected = "
# ***
# ***
# ***

# a comment: stays
services: {a: {command: a}} # ***
duration: 1s # ***
";
    assert_eq!(sound(text).masked_source(), expected);
}

#[test]
fn nothing_else_is_masked() {
    let text = "
name: x # what for: a test
duration: 1s
services: {env: {command: [env, env], limits: {cpu: 1}}}
";
    assert_eq!(sound(text).masked_source(), text);
}

#[test]
fn headers_with_credentials_are_masked() {
    let text = "services: {web: {command: s, port: 80}}
workloads:
- {service: web, arrival: {constant: 1/s}, requests: 1, request: {headers: {Accept: a/b, Authorization: Bearer hunter2hunter2, X-Api-Key: hunter2hunter2}}}";
    let file = sound(text);
    let expected = text
        .replace("Bearer hunter2hunter2", "'***'")
        .replace(SECRET, "'***'");
    assert_eq!(file.masked_source(), expected);
    assert!(
        !format!("{file:?}")
            .split("source:")
            .next()
            .unwrap()
            .contains(SECRET)
    );
}

#[test]
fn debug_output_of_a_file_holds_no_secret() {
    let file = sound("duration: 1s\nservices: {a: {command: a, env: {K: hunter2hunter2}}}");
    assert!(!format!("{file:?}").contains(SECRET));
}

#[test]
fn problems_show_their_line_without_the_values_on_it() {
    assert_eq!(
        told(
            "duration: 1s\nservices: {a: {command: a, env: {K: hunter2hunter2, L: [x]}, prot: 1}}"
        ),
        "quickstart.yaml:2:56: expected the text of an environment variable, found a list
  |
2 | services: {a: {command: a, env: {K: ***, L: ***}, prot: 1}}
  |                                             ^^^
quickstart.yaml:2:62: unknown key 'prot'; did you mean 'port'?
  |
2 | services: {a: {command: a, env: {K: ***, L: ***}, prot: 1}}
  |                                                   ^^^^"
    );
}

#[test]
fn slips_around_the_environment_show_nothing() {
    for services in [
        "{a: {command: a, envs: {K: hunter2hunter2}}}",
        "{a: {command: a, environment: {K: hunter2hunter2}}}",
        "{a: {command: a, evn: {K: hunter2hunter2}}}",
        "{a: {command: a, env: [K=hunter2hunter2]}}",
        "{a: {command: a, env: K=hunter2hunter2}}",
        "{a: {command: a, env: {K: {x: hunter2hunter2}}}}",
        "{a: {command: a, env: {K: \"hunter2hunter2\\0\"}}}",
        "{a: {command: a, env: {K: hunter2hunter2}, env: {L: hunter2hunter2}}}",
        "{a: {command: a, env: {K: !!str hunter2hunter2}}}",
        "{a: {command: a, env: {K: \"hunter2hunter2}}}",
        "{a: {command: a, env: {K: \"hunter2hunter2\" x}}}",
        "{a: {command: a, env: {K: hunter2hunter2: x}}}",
        "{a: {command: a, env: {K:hunter2hunter2, L:hunter2hunter2}}}",
        "{a: {command: a, env: {K:hunter2hunter2, K:hunter2hunter2}}}",
        "\n  a:\n    env:\n      K: hunter2hunter2\n     L: x",
        "\n  a:\n    command: s\n    env:\n    K: hunter2hunter2",
        "{a: {command: s, env: {}}, K: hunter2hunter2}",
        "{a: {command: s, env: {}, K: hunter2hunter2}}",
        "{a: {command: s, env: {}, K:hunter2hunter2}}",
        "{a: {command: s, env: {}, ? [K]: hunter2hunter2}}",
        "\n  a:\n    env:\n      K: 'hunter2hunter2",
        "\n  a:\n    env:\n      K: hunter2hunter2: x",
        "\n  a:\n    env:\n      K: @hunter2hunter2",
    ] {
        let text = format!("duration: 1s\nservices: {services}\n");
        let told = told(&text);
        assert!(!told.contains(SECRET), "{told}");
    }
}

fn text_with_secret() -> impl Strategy<Value = String> {
    let value = prop::sample::select(
        &[
            " hunter2hunter2",
            " 'hunter2hunter2'",
            " \"hunter2hunter2\"",
            " &x hunter2hunter2",
            " |\n          hunter2hunter2",
            " >-\n          a\n          hunter2hunter2",
            " a\n          hunter2hunter2",
        ][..],
    );
    let env = (value, any::<bool>()).prop_map(|(value, flow)| {
        match flow && !value.contains(['|', '>']) {
            true => format!(" {{A: 1, K:{value}, L: x}}"),
            false => format!("\n        A: 1\n        K:{value}\n        L: x"),
        }
    });
    env.prop_map(|env| {
        format!("services:\n  web:\n    command: [s, -v]\n    env:{env}\n    replicas: 2\nduration: 1s\n")
    })
}

proptest! {
    // Slips are without end; those tried here are the same in every run.
    #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(9), ..ProptestConfig::default() })]

    #[test]
    fn a_masked_source_never_holds_the_value(text in text_with_secret()) {
        let file = sound(&text);
        prop_assert!(!file.masked_source().contains(SECRET), "{}", file.masked_source());
        prop_assert!(parse(file.masked_source()).is_ok());
    }

    /// Whatever slip is made somewhere in the file, what is said about it does not hold the value.
    #[test]
    fn a_slip_in_the_file_never_shows_the_value(
        text in text_with_secret(),
        at in any::<prop::sample::Index>(),
        slip in "[:{}\\[\\]\"'|>,&*!#@%\n\t -]{0,2}",
        cut in 0..6_usize,
    ) {
        let at = at.index(text.len());
        // A slip inside of the word `env` itself makes it another word, which nobody can know to be one.
        let word = text.find("env:").unwrap();
        prop_assume!(!(word..word + 4).contains(&at) && !(at..at + cut).contains(&word));
        let broken = format!("{}{slip}{}", &text[..at], &text[(at + cut).min(text.len())..]);
        match parse(&broken) {
            Ok(file) => prop_assert!(!file.masked_source().contains(SECRET), "{}", file.masked_source()),
            Err(error) => prop_assert!(!error.to_string().contains(SECRET), "{broken}\n{error}"),
        }
    }
}
