//! What is done with runs that are stored.

use std::fs;

use galileo_expdb::Status;
use serde_json::Value;

use crate::fixture;
use crate::program::Place;

const ID: &str = "202511250240-1a2b";
const OTHER: &str = "202511250240-77c0";

fn with_a_run() -> Place {
    let place = Place::new();
    fixture::finished(&place.database(), ID);
    place
}

#[test]
fn list_has_the_runs_as_table_and_as_json() {
    let place = with_a_run();
    let table = place.galileo(&["list"]).fine();
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with(ID), "{table}");
    assert!(
        row.contains("19 s") && row.contains("FINISHED") && row.ends_with("by hand"),
        "{table}"
    );

    let json: Value =
        serde_json::from_str(&place.galileo(&["list", "--output", "json"]).fine()).unwrap();
    assert_eq!(json[0]["id"], ID);
    assert_eq!(json[0]["status"], "FINISHED");
    assert_eq!(json[0]["started"], "2025-11-25T02:40:02.000Z");
}

#[test]
fn show_prints_the_answers_of_a_run_named_by_its_beginning() {
    let place = with_a_run();
    for id in ["last", ID, "2025"] {
        let text = place.galileo(&["show", id]).fine();
        assert!(text.starts_with("by hand\n"), "{text}");
        assert!(text.contains("web"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
    let coloured = place.galileo(&["--color", "always", "show"]).fine();
    assert!(coloured.contains('\u{1b}'), "{coloured}");
}

#[test]
fn the_json_of_a_run_is_the_documented_one() {
    let place = with_a_run();
    let json: Value =
        serde_json::from_str(&place.galileo(&["show", "--output", "json"]).fine()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["experiment"]["id"], ID);
    let workload = &json["workloads"][0];
    assert_eq!(
        (&workload["intended"], &workload["completed"]),
        (&10.into(), &10.into())
    );
    assert_eq!(workload["response_ms"]["p50"], 2.0);
    assert_eq!(json["joined"], 10);
    assert_eq!(
        json["services"]["web"]["replicas"][0]["cpu_ms_per_request"],
        1.0
    );
    assert_eq!(json["valid"], true);

    // Every key of the JSON stands in its description.
    let described = include_str!("../../../docs/result-json.md");
    let mut keys = Vec::new();
    collect_keys(&json, &mut keys);
    for key in keys
        .iter()
        .filter(|key| !["web", "ring_full"].contains(&key.as_str()))
    {
        assert!(
            described.contains(&format!("`{key}`")),
            "docs/result-json.md lacks {key}"
        );
    }
}

fn collect_keys(value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            keys.push(key.clone());
            collect_keys(value, keys);
        }),
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn a_report_goes_into_the_folder_of_the_run_or_where_it_is_told() {
    let place = with_a_run();
    let said = place.galileo(&["report"]).fine();
    let path = place.folder().join("runs").join(ID).join("report.html");
    assert_eq!(said.trim_end(), path.to_str().unwrap());
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert_eq!(
        place.galileo(&["report", "last", "--out", "-"]).fine(),
        page
    );
    place
        .galileo(&["report", "last", "--out", "new/folder/r.html"])
        .fine();
    assert_eq!(
        fs::read_to_string(place.path("new/folder/r.html")).unwrap(),
        page
    );
    // What is there is replaced, and nothing else is left.
    place
        .galileo(&["report", "last", "--out", "new/folder/r.html"])
        .fine();
    assert_eq!(fs::read_dir(place.path("new/folder")).unwrap().count(), 1);
    assert!(
        place
            .galileo(&["show"])
            .fine()
            .ends_with(&format!("Report: {said}"))
    );
}

#[test]
fn delete_takes_all_or_nothing() {
    let place = with_a_run();
    fixture::finished(&place.database(), OTHER);
    place.galileo(&["report", ID]).fine();

    let said = place.galileo(&["delete", ID, "nothing"]).failed(1);
    assert!(said.contains("no experiment \"nothing\""), "{said}");
    assert_eq!(place.galileo(&["list"]).fine().lines().count(), 3);

    assert_eq!(
        place.galileo(&["delete", ID, ID]).fine(),
        format!("deleted {ID}\n")
    );
    assert!(!place.path("runs").join(ID).exists());
    let left = place.galileo(&["list"]).fine();
    assert!(left.contains(OTHER) && !left.contains(ID), "{left}");
}

#[test]
fn a_run_in_progress_is_deleted_by_force_only() {
    let place = Place::new();
    fixture::without_results(&place.database(), ID, Status::Running);
    let said = place.galileo(&["delete", ID]).failed(1);
    assert!(
        said.contains("in progress") && said.contains("--force"),
        "{said}"
    );
    place.galileo(&["delete", ID, "--force"]).fine();
}

#[test]
fn a_run_whose_galileo_lives_is_not_deleted_even_by_force() {
    let place = with_a_run();
    fs::create_dir_all(place.path("runs").join(ID)).unwrap();
    let owned = fs::File::create(place.path("runs").join(ID).join("owner.json")).unwrap();
    owned.lock().unwrap();

    let said = place.galileo(&["delete", ID, "--force"]).failed(1);
    assert!(said.contains("in progress"), "{said}");
    assert!(place.path("runs").join(ID).exists());

    drop(owned);
    place.galileo(&["delete", ID, "--force"]).fine();
}

#[test]
fn a_folder_that_cannot_be_removed_keeps_its_row_and_no_other() {
    let place = with_a_run();
    fixture::finished(&place.database(), OTHER);
    fs::create_dir_all(place.path("runs").join(OTHER)).unwrap();
    // A file in the place of the folder: not even root can remove it as a folder.
    place.file(&format!("runs/{ID}"), "");

    let said = place.galileo(&["delete", ID, OTHER]);
    assert_eq!(said.out, format!("deleted {OTHER}\n"));
    let error = said.failed(1);
    assert!(error.contains(&format!("not deleted: {ID}")), "{error}");

    assert!(!place.path("runs").join(OTHER).exists());
    let left = place.galileo(&["list"]).fine();
    assert!(left.contains(ID) && !left.contains(OTHER), "{left}");
}

#[test]
fn export_writes_three_files_and_replaces_them_by_force_only() {
    let place = with_a_run();
    for format in ["ndjson", "csv"] {
        let export = ["export", "last", "--format", format, "--out", "records"];
        let said = place.galileo(&export).fine();
        assert!(
            said.contains(&format!("records/traces.{format}: 10 records")),
            "{said}"
        );
        let refused = place.galileo(&export).failed(1);
        assert!(refused.contains("help: --force replaces it"), "{refused}");
        place.galileo(&[&export[..], &["--force"]].concat()).fine();
    }
    let traces = fs::read_to_string(place.path("records/traces.ndjson")).unwrap();
    assert_eq!(traces.lines().count(), 10);
    let exchanges = fs::read_to_string(place.path("records/exchanges.csv")).unwrap();
    assert_eq!(exchanges.lines().count(), 11);
}

#[test]
fn what_is_not_there_is_told_with_what_to_do() {
    let place = Place::new();
    for command in [&["show"][..], &["report"], &["delete", "last"], &["list"]] {
        let said = place.galileo(command).failed(1);
        assert!(said.contains("there is no experiment database"), "{said}");
        assert!(said.contains("help: `galileo run FILE` makes it"), "{said}");
    }
    assert!(!place.database().exists());

    fixture::without_results(&place.database(), ID, Status::Failed);
    let said = place.galileo(&["show"]).failed(1);
    assert!(
        said.contains("has no results: it ended before anything was measured"),
        "{said}"
    );
    let said = place.galileo(&["show", "1999"]).failed(1);
    assert!(
        said.contains("`galileo list` shows those that exist"),
        "{said}"
    );
}

#[test]
fn a_first_user_without_a_database_is_told_how_to_begin() {
    let place = Place::new();
    let mut command = place.command(&["list"]);
    let said = crate::program::said(command.env_remove("GALILEO_DB"));
    assert_eq!(said.fine(), "No runs yet; `galileo run FILE` makes one.\n");
}

#[test]
fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = Place::new();
    fs::write(
        place.database(),
        "a letter to a friend, longer than the header of a database file, which has 100 bytes",
    )
    .unwrap();
    let said = place.galileo(&["list"]).failed(1);
    assert!(said.contains("is not a database"), "{said}");
}

#[test]
fn an_id_that_may_be_several_lists_them() {
    let place = with_a_run();
    fixture::finished(&place.database(), OTHER);
    let said = place.galileo(&["show", "2025"]).failed(1);
    assert!(said.contains(ID) && said.contains(OTHER), "{said}");
}
