//! What is stored and shown of a run: no secret, no foreign markup, nothing from the network.

use std::fs;

use galileo_tests::{free_port, runs::Place};

use crate::experiments::{Plain, machine};

const SECRET: &str = "hunter2-correct-horse";

#[test]
fn values_of_the_environment_are_neither_stored_nor_shown() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        extent: "duration: 500ms",
        ..Plain::new(free_port())
    };
    let file = plain.text();
    let file = crate::experiments::replaced(
        &file,
        "health: /health",
        &format!("health: /health, env: {{PASSWORD: {SECRET}}}"),
    );
    let run = place.start_experiment(&file);

    let said = run.end();

    assert!(matches!(said.code, Some(0 | 3)), "{}", said.err);
    let told = format!("{}{}", said.out, said.err);
    assert!(!told.contains(SECRET), "{told}");
    let id = place.id();
    let folder = place.path("runs").join(&id);
    let report = fs::read_to_string(folder.join("report.html")).expect("there is a report");
    assert!(report.contains("PASSWORD") && report.contains("***"));
    let files = fs::read_dir(place.path("")).expect("it is a folder");
    let files = files.chain(fs::read_dir(folder).expect("it is a folder"));
    for file in files.flatten().map(|entry| entry.path()) {
        if !file.is_file() || file.ends_with("experiment.yaml") {
            continue;
        }
        let bytes = fs::read(&file).expect("it can be read");
        let found = bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret stands in {}", file.display());
    }
    assert!(place.database().is_file());
}

#[test]
fn the_report_needs_no_network_and_shows_foreign_markup_as_text() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        extent: "duration: 500ms",
        ..Plain::new(free_port())
    };
    let name = "x</script><img src=q onerror=alert(1)>";
    let file = format!("name: '{name}'\n{}", plain.text());
    let file = crate::experiments::replaced(
        &file,
        "through: direct",
        "through: direct, request: {path: '/%3Cb%3E?</script><svg/onload=alert(2)>'}",
    );
    place.file("experiment.yaml", &file);

    let said = place.galileo(&["run", "experiment.yaml", "--report", "out/page.html"]);

    assert!(matches!(said.code, Some(0 | 3)), "{}{}", said.out, said.err);
    assert!(said.out.contains("Report: out/page.html"), "{}", said.out);
    let page = fs::read_to_string(place.path("out/page.html")).expect("there is a report");
    assert!(page.contains("x&lt;/script&gt;&lt;img src=q onerror=alert(1)&gt;"));
    for markup in ["<img", "<svg/onload"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("</script").count()
    );
    for load in [
        "src=\"http",
        "src='http",
        "href=\"http",
        "href='http",
        "src=\"//",
        "url(",
        "@import",
        "<iframe",
        "<object",
        "<embed",
        "fetch(",
        "XMLHttpRequest",
    ] {
        assert!(!page.contains(load), "the page has {load}");
    }
    // The empty icon spares a server the question for one.
    assert_eq!(page.matches("<link").count(), 1);
    assert!(page.contains("<link rel=\"icon\" href=\"data:,\">"));
    let json = page
        .split_once("id=\"galileo-result\"")
        .and_then(|(_, rest)| rest.split_once('>'))
        .and_then(|(_, rest)| rest.split_once("</script"))
        .map(|(json, _)| json)
        .expect("the page carries its result");
    let json: serde_json::Value = serde_json::from_str(json).expect("it is JSON");
    assert_eq!(json["experiment"]["name"], name);
    let shown = place.galileo(&["show", "--output", "json"]).json();
    assert_eq!(json, shown);
}
