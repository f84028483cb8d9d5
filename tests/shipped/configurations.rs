//! Example configurations, and TOML in documents: `check` takes all of it, and so does the schema.

use std::path::Path;
use std::process::Command;

use handfast::config;
use serde_json::Value;

use crate::schema::check;
use crate::text::{files, read, root};

/// What `handfast config schema` prints.
fn schema() -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handfast"));
    let output = command.args(["config", "schema"]).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_taken(text: &str, schema: &Value, name: &str) {
    if let Err(faults) = config::parse(text, Path::new("/etc/handfast/handfast.toml")) {
        panic!("{name}: {faults}\n{text}");
    }
    let table: toml::Table = toml::from_str(text).unwrap();
    let value = serde_json::to_value(table).unwrap();
    if let Err(fault) = check(schema, schema, &value, name) {
        panic!("{fault}");
    }
}

#[test]
fn example_configurations_are_taken() {
    let schema = schema();
    let examples = files("config", ".toml");
    assert!(examples.len() >= 6, "{examples:?}");
    for path in examples {
        // One of them includes a directory of its own: checked where it stands.
        let name = path.display().to_string();
        if let Err(faults) = config::load(&path) {
            panic!("{name}: {faults}");
        }
        let table: toml::Table = toml::from_str(&read(&name)).unwrap();
        let value = serde_json::to_value(table).unwrap();
        check(&schema, &schema, &value, &name).unwrap();
    }
}

#[test]
fn what_the_package_proposes_is_taken() {
    let text = read("deploy/deb/handfast.toml");
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let proposed: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect();
    assert_eq!(proposed.len(), 8, "{proposed:#?}");
    is_taken(&proposed.join("\n"), &schema(), "deploy/deb/handfast.toml");
}

#[test]
fn toml_in_documents_is_taken() {
    let schema = schema();
    let mut documents = files("docs", ".md");
    documents.push(root().join("README.md"));
    let mut blocks = 0;
    for path in documents {
        let name = path.display().to_string();
        let text = read(&name);
        for block in text.split("\n```toml\n").skip(1) {
            let (block, _) = block.split_once("\n```").unwrap();
            is_taken(&completed(block), &schema, &name);
            blocks += 1;
        }
    }
    assert!(blocks >= 6, "{blocks}");
}

/// `block` with what a file has to have, where it is a part of one.
fn completed(block: &str) -> String {
    let mut text = format!("{block}\n");
    if !block.contains("[[listeners]]") {
        text.push_str(
            "[[listeners]]\naddress = \"[::]:443\"\ncertificate = { chain = \"c\", key = \"k\" }\n",
        );
    }
    if !block.contains("[[routes]]") {
        text.push_str("[[routes]]\nupstream = \"http://127.0.0.1:3000\"\n");
    }
    text
}

#[test]
fn the_first_hour_takes_eight_lines() {
    let text = read("docs/first-hour.md");
    let block = text.split("\n```toml\n").nth(1).unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    assert!(block.lines().count() <= 8, "{block}");
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let schema = schema();
    let base = read("config/minimal.toml");
    for (more, place) in [
        ("[limits]\nconections = 1\n", "limits.conections"),
        ("[limits]\nconnections = 0\n", "limits.connections"),
        ("[limits]\nrequest_line = 8192\n", "limits.request_line"),
        ("[timeouts]\nkeep_alive = \"75\"\n", "timeouts.keep_alive"),
        (
            "[tls.default]\nversions = [\"1.1\"]\n",
            "tls.default.versions",
        ),
        ("[upstreams.\"a b\"]\nservers = []\n", "upstreams"),
        ("[[routes]]\npath = \"/x\"\n", "routes[1]"),
    ] {
        let text = format!("{base}\n{more}");
        config::parse(&text, Path::new("x.toml")).unwrap_err();
        let table: toml::Table = toml::from_str(&text).unwrap();
        let value = serde_json::to_value(table).unwrap();
        let fault = check(&schema, &schema, &value, "").unwrap_err();
        assert!(fault.starts_with(&format!(".{place}")), "{more}: {fault}");
    }
}
