//! Results on disk.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::results::Results;
use crate::svg;

const BEGIN: &str = "<!-- bench: begin -->\n";
const END: &str = "<!-- bench: end -->";

/// Writes `results.md`, `results.json` and `results.svg` into `directory`.
pub(crate) fn write(results: &Results, text: &str, directory: &Path) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(results)
        .map_err(|error| Failure::io("cannot write JSON")(error.into()))?;
    file(&directory.join("results.md"), text)?;
    file(&directory.join("results.json"), &(json + "\n"))?;
    file(&directory.join("results.svg"), &svg::render(results))
}

/// Puts a run where it is kept: `benches/results`, the table into `benches/README.md`, what wrk and
/// h2load printed into `README.md`.
pub(crate) fn keep(
    results: &Results,
    text: &str,
    transcript: &str,
    root: &Path,
) -> Result<(), Failure> {
    let directory = root.join("benches/results");
    fs::create_dir_all(&directory).map_err(Failure::io("benches/results"))?;
    write(results, text, &directory)?;
    replace(&root.join("benches/README.md"), text)?;
    replace(&root.join("README.md"), transcript)
}

/// Replaces what stands between the two marks of a file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.display().to_string();
    let old = fs::read_to_string(path).map_err(Failure::io(&*name))?;
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        return Err(Failure::Usage(format!("{name} has no place for results")));
    };
    file(path, &format!("{before}{BEGIN}{text}{END}{after}"))
}

fn file(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::io(path.display().to_string()))
}
