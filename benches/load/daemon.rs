//! The handfast under test: a release build of this tree.
//!
//! Not the one that `cargo bench` builds beside this bench: features of test dependencies (tokio's
//! test clock) are compiled into that one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::{Failure, tail};

/// Builds it, and copies it to `directory`, where no later build replaces it during the run.
pub(crate) fn build(directory: &Path) -> Result<PathBuf, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--locked", "--bin", "handfast"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Failure::io("cannot run cargo"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "handfast")
        .find_map(|message| Some(message["executable"].as_str()?.to_owned()));
    let built = built.ok_or_else(|| Failure::Tool {
        program: "cargo build --release".to_owned(),
        output: tail(&messages, 400),
    })?;
    copy(Path::new(&built), directory)
}

/// Copies the executable `from` to `directory`.
pub(crate) fn copy(from: &Path, directory: &Path) -> Result<PathBuf, Failure> {
    let to = directory.join("handfast");
    // A copy over a running executable would fail.
    fs::remove_file(&to).ok();
    fs::copy(from, &to).map_err(Failure::io(format!("cannot copy {}", from.display())))?;
    Ok(to)
}
