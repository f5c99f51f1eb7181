//! Help, version, completions, manual pages.

use clap::CommandFactory;
use galileo::Cli;

use crate::program::Place;

fn commands() -> Vec<String> {
    Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

#[test]
fn help_of_every_command_has_an_example() {
    let place = Place::new();
    assert!(commands().len() >= 13);
    for command in commands() {
        let help = place.galileo(&[&command, "--help"]).fine();
        assert!(help.contains("Examples:"), "{help}");
        assert!(help.contains(&format!("  galileo {command}")), "{help}");
        assert!(help.contains("--db <FILE>"), "{help}");
        let short = place.galileo(&[&command, "-h"]).fine();
        assert!(short.contains("Examples:"), "{short}");
    }
}

#[test]
fn help_of_the_program_shows_a_session_and_the_exit_codes() {
    let place = Place::new();
    let help = place.galileo(&["--help"]).fine();
    assert!(help.contains("A typical session:"), "{help}");
    assert!(help.contains("130  interrupted"), "{help}");
    // The helpers are none of the user's business.
    assert!(!help.contains("__exec"), "{help}");
}

#[test]
fn no_command_is_a_usage_error_that_shows_the_help() {
    let said = Place::new().galileo(&[]).failed(2);
    assert!(said.contains("A typical session:"), "{said}");
}

#[test]
fn a_command_that_is_misspelt_is_a_usage_error_with_the_right_one() {
    let said = Place::new().galileo(&["valdate"]).failed(2);
    assert!(said.contains("'validate'"), "{said}");
}

#[test]
fn the_version_names_the_commit() {
    let version = Place::new().galileo(&["--version"]).fine();
    let commit = version
        .strip_prefix(concat!("galileo ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(")\n"))
        .unwrap();
    assert!(commit == "unknown" || commit.len() >= 12, "{version}");
}

#[test]
fn completions_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = place.galileo(&["completions", shell]).fine();
        for command in commands() {
            assert!(text.contains(&command), "{shell} lacks {command}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_the_program_and_for_every_command() {
    let place = Place::new();
    place.galileo(&["man", "--out", "man1"]).fine();
    let whole = place.galileo(&["man"]).fine();
    let page =
        |name: &str| std::fs::read_to_string(place.path("man1").join(format!("{name}.1"))).unwrap();
    assert!(page("galileo").contains("A typical session"));
    for command in commands() {
        let text = page(&format!("galileo-{command}"));
        assert!(text.contains(".SH NAME"), "{text}");
        assert!(text.contains("Examples:"), "{text}");
        assert!(
            whole.contains(&text),
            "galileo man lacks the page of {command}"
        );
    }
}
