//! `deploy/grafana` and `deploy/prometheus`: they ask for metrics that there are.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::text::{read, root, yaml};

/// Every metric of `docs/metrics.md`, and whether it is a histogram.
fn documented() -> Vec<(String, bool)> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`').to_owned();
        let kind = cells.next()?.trim();
        matches!(kind, "counter" | "gauge" | "histogram").then(|| (name, kind == "histogram"))
    });
    let metrics: Vec<_> = rows.collect();
    assert!(metrics.len() > 30, "{metrics:?}");
    metrics
}

/// Reports the metrics in `text` that are not documented; returns how many it has.
fn are_documented(text: &str, name: &str) -> usize {
    let documented = documented();
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("handfast_") {
        let rest = &text[at + "handfast_".len()..];
        let end = rest.find(|char| !word(char)).unwrap_or(rest.len());
        found.insert(&rest[..end]);
    }
    for metric in &found {
        let known = documented.iter().any(|(name, histogram)| match histogram {
            false => name == metric,
            true => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| metric.strip_suffix(end) == Some(name)),
        });
        assert!(known, "{name}: handfast_{metric} is not in docs/metrics.md");
    }
    found.len()
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let text = read("deploy/grafana/handfast.json");
    assert!(are_documented(&text, "dashboard") > 15);
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{panel} is too wide");
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        let targets = panel["targets"].as_array();
        assert!(
            targets.is_some_and(|it| !it.is_empty()) || panel["type"] == "row",
            "{panel}"
        );
    }
}

fn alerts() -> Vec<Value> {
    let document = &yaml(&read("deploy/prometheus/alerts.yaml"))[0];
    let groups = document["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn alerts_ask_for_metrics_that_there_are_and_have_a_section() {
    let text = read("deploy/prometheus/alerts.yaml");
    assert!(are_documented(&text, "alerts") > 10);
    are_documented(
        &read("deploy/prometheus/alerts.test.yaml"),
        "tests of alerts",
    );
    let runbook = read("docs/runbook.md");
    let tests = read("deploy/prometheus/alerts.test.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let link = alert["annotations"]["runbook"].as_str().unwrap();
        let anchor = link.strip_prefix("docs/runbook.md#").unwrap();
        let mut headings = runbook.lines().filter_map(|line| line.strip_prefix("### "));
        assert!(
            headings.any(|heading| heading.to_ascii_lowercase() == anchor),
            "{name}: {link}"
        );
        // Once where it must be silent, and at least once where it must not.
        let count = |text: &str| tests.matches(text).count();
        let silent = count(&format!("alertname: {name}, exp_alerts: []"));
        assert_eq!(silent, 1, "{name}");
        assert!(count(&format!("alertname: {name}\n")) >= 1, "{name}");
    }
    let sections = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### Handfast"));
    for section in sections {
        let name = format!("Handfast{section}");
        assert!(
            alerts().iter().any(|alert| alert["alert"] == *name),
            "there is no alert {name}"
        );
    }
}

/// By promtool, of Debian's package `prometheus`.
#[test]
fn alerts_fire_when_they_should() {
    let mut promtool = Command::new("promtool");
    let command = promtool.current_dir(root().join("deploy/prometheus"));
    let output = command
        .args(["test", "rules", "alerts.test.yaml"])
        .output()
        .expect("promtool is installed: `make tools`");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
