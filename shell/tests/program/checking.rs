//! `check` and `clean`. No cgroup is below `/none`: what other runs on this machine left is not for a test to remove.

use std::fs;

use galileo_expdb::Status;
use serde_json::Value;

use crate::fixture;
use crate::program::Place;

#[test]
fn check_tells_every_state_with_its_reason_and_its_verdict_as_exit_code() {
    let place = Place::new();
    let said = place.galileo(&["check", "--output", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["schema"], 1);
    let code = match json["verdict"].as_str().unwrap() {
        "full" => 0,
        "reduced" => 3,
        "none" => 1,
        other => panic!("{other}"),
    };
    assert_eq!(said.code, Some(code), "{}", said.err);
    let checks = json["checks"].as_array().unwrap();
    for name in [
        "kernel",
        "CPUs",
        "/proc",
        "cgroups",
        "CPU limit",
        "memory limit",
        "database",
        "disk",
    ] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}");
    }
    for check in checks {
        let works = check["state"] == "works";
        assert_eq!(check["why"].is_null(), works, "{check}");
        assert_eq!(check["remedy"].is_null(), works, "{check}");
    }
    // It looks and leaves nothing.
    assert!(!place.database().exists());
}

#[test]
fn a_database_that_cannot_be_used_blocks() {
    let place = Place::new();
    fs::create_dir(place.database()).unwrap();
    let said = place.galileo(&["check"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("BLOCKS  database"), "{}", said.out);
    assert!(said.out.contains("No run works here"), "{}", said.out);
}

#[test]
fn a_run_that_was_killed_is_marked_and_one_in_progress_is_not() {
    let place = Place::new();
    fixture::without_results(&place.database(), "killed", Status::Running);
    fixture::without_results(&place.database(), "living", Status::Running);
    for id in ["killed", "living"] {
        fs::create_dir_all(place.path("runs").join(id)).unwrap();
        fs::write(place.path("runs").join(id).join("owner.json"), "{}").unwrap();
    }
    let owned = fs::File::open(place.path("runs/living/owner.json")).unwrap();
    owned.lock().unwrap();

    let said = place
        .galileo(&["clean", "--cgroup-parent", "/none", "--dry-run"])
        .fine();
    assert!(said.contains("would mark run killed as aborted"), "{said}");
    assert!(said.contains("run living is in progress"), "{said}");
    assert!(place.path("runs/killed/owner.json").exists());

    let said = place.galileo(&["clean", "--cgroup-parent", "/none"]).fine();
    assert!(said.contains("marked run killed as aborted"), "{said}");
    assert!(!place.path("runs/killed/owner.json").exists());
    let list = place.galileo(&["list"]).fine();
    assert!(list.contains("ABORTED"), "{list}");
    assert!(list.contains("RUNNING"), "{list}");
}

#[test]
fn an_old_run_that_cannot_be_removed_is_named_and_does_not_keep_the_others() {
    let place = Place::new();
    for id in ["first", "second"] {
        fixture::finished(&place.database(), id);
    }
    fs::create_dir_all(place.path("runs/second")).unwrap();
    place.file("runs/first", "");

    let said = place.galileo(&["clean", "--cgroup-parent", "/none", "--older-than", "1d"]);
    assert!(said.out.contains("deleted run second"), "{}", said.out);
    assert!(!said.out.contains("deleted run first"), "{}", said.out);
    let error = said.failed(1);
    assert!(error.contains("not deleted: first"), "{error}");
    assert!(!place.path("runs/second").exists());
    let left = place.galileo(&["list"]).fine();
    assert!(left.contains("first") && !left.contains("second"), "{left}");
}

#[test]
fn old_runs_go_with_their_folders_and_only_when_asked() {
    let place = Place::new();
    fixture::finished(&place.database(), "old");
    fs::create_dir_all(place.path("runs/old")).unwrap();

    place.galileo(&["clean", "--cgroup-parent", "/none"]).fine();
    place
        .galileo(&["clean", "--cgroup-parent", "/none", "--older-than", "5000d"])
        .fine();
    let said = place
        .galileo(&[
            "clean",
            "--cgroup-parent",
            "/none",
            "--older-than",
            "1d",
            "--dry-run",
        ])
        .fine();
    assert!(said.contains("would delete run old"), "{said}");
    assert!(place.path("runs/old").exists());

    let said = place
        .galileo(&["clean", "--cgroup-parent", "/none", "--older-than", "1d"])
        .fine();
    assert!(said.contains("deleted run old"), "{said}");
    assert!(!place.path("runs/old").exists());
    assert_eq!(
        place.galileo(&["list"]).fine(),
        "No runs yet; `galileo run FILE` makes one.\n"
    );
}
