//! The systemd unit, by systemd's own judgement.

use std::process::{Command, Output};

use crate::text::{read, root};

const UNIT: &str = "deploy/systemd/handfast.service";
/// The most that `systemd-analyze security` may find, in tenths: 1.6.
const EXPOSURE: &str = "16";

/// `systemd-analyze` on the unit as it will be, but with the command that was built.
fn analyze(args: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handfast.service");
    let unit = read(UNIT).replace("/usr/bin/handfast", env!("CARGO_BIN_EXE_handfast"));
    std::fs::write(&path, unit).unwrap();
    Command::new("systemd-analyze")
        .args(args)
        .arg(&path)
        .output()
        .expect("systemd-analyze is installed: `make tools`")
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    let output = analyze(&["verify", "--man=no"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !told.contains("handfast.service"),
        "{told}"
    );
}

#[test]
fn the_unit_is_closed() {
    let output = analyze(&["security", "--offline=true", "--threshold", EXPOSURE]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("exposure level"),
        "{told}"
    );
}

/// A reload is SIGHUP, and what will fail again is not tried again.
#[test]
fn the_unit_says_what_the_daemon_does() {
    let unit = read(UNIT);
    let command = "ExecStart=/usr/bin/handfast run --config /etc/handfast/handfast.toml";
    for line in [
        command,
        "ExecReload=/bin/kill -HUP $MAINPID",
        "RestartPreventExitStatus=2 78",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
    assert!(
        root()
            .join("deploy/systemd/sysusers.d/handfast.conf")
            .exists()
    );
}
