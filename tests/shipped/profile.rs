//! The compiler's wrapper: who gets the execution profile, and that all else stays as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What the compiler is called with by the wrapper in `directory`, with this LLVM and these words.
fn called(directory: &Path, llvm: &str, words: &[&str], off: bool) -> Vec<String> {
    let rustc = directory.join("rustc");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -vV ] && {{ echo 'LLVM version: {llvm}'; exit; }}\nprintf '%s\\n' \"$@\"\n"
    );
    fs::write(&rustc, script).unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let mut wrapper = Command::new(directory.join("rustc.sh"));
    wrapper
        .arg(&rustc)
        .args(words)
        .env_remove("HANDFAST_PROFILE");
    if off {
        wrapper.env("HANDFAST_PROFILE", "off");
    }
    let output = wrapper.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn optimised_crates_get_the_profile_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/profile");
    for file in ["rustc.sh", "handfast.profdata"] {
        fs::copy(here.join(file), directory.join(file)).unwrap();
    }
    let profile = directory.join("handfast.profdata");
    let used = format!("-Cprofile-use={}", profile.display());
    let optimised = ["--crate-name", "a b", "-C", "opt-level=3"];
    let debug = ["--crate-name", "a", "-C", "opt-level=2"];

    let with = called(directory, "22.1.2", &optimised, false);
    assert_eq!(with[..4], optimised);
    assert_eq!(with[4], used);
    assert_eq!(called(directory, "22.1.2", &debug, false), debug);
    assert_eq!(called(directory, "22.1.2", &optimised, true), optimised);
    assert_eq!(called(directory, "21.1.8", &optimised, false), optimised);
    assert_eq!(called(directory, "unknown", &optimised, false), optimised);
    fs::remove_file(&profile).unwrap();
    assert_eq!(called(directory, "22.1.2", &optimised, false), optimised);
}

#[test]
fn cargo_calls_the_wrapper() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = fs::read_to_string(root.join(".cargo/config.toml")).unwrap();
    let config: toml::Table = toml::from_str(&config).unwrap();
    let wrapper = config["build"]["rustc-wrapper"].as_str().unwrap();
    let mode = fs::metadata(root.join(wrapper))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111, "{wrapper} is not executable");
}
