//! The systemd units, by systemd's own judgement.

use std::process::{Command, Output};

use crate::text::{read, root};

const UNIT: &str = "deploy/systemd/handfast.service";
/// Each with the name that `address = "systemd:NAME"` asks for, and its port.
const SOCKETS: [(&str, &str, u16); 2] = [
    ("handfast.socket", "https", 443),
    ("handfast-http.socket", "http", 80),
];
/// The most that `systemd-analyze security` may find, in tenths: 1.6.
const EXPOSURE: &str = "16";

/// `systemd-analyze` on the units as they will be, but with the command that was built.
fn analyze(args: &[&str], others: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let others = others.iter().map(|name| {
        let path = directory.path().join(name);
        std::fs::write(&path, read(&format!("deploy/systemd/{name}"))).unwrap();
        path
    });
    let others: Vec<_> = others.collect();
    let path = directory.path().join("handfast.service");
    let unit = read(UNIT).replace("/usr/bin/handfast", env!("CARGO_BIN_EXE_handfast"));
    std::fs::write(&path, unit).unwrap();
    Command::new("systemd-analyze")
        .args(args)
        .arg(&path)
        .args(others)
        .output()
        .expect("systemd-analyze is installed: `make tools`")
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    let output = analyze(&["verify", "--man=no"], &SOCKETS.map(|(name, ..)| name));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !told.contains("handfast"),
        "{told}"
    );
}

#[test]
fn the_unit_is_closed() {
    let output = analyze(
        &["security", "--offline=true", "--threshold", EXPOSURE],
        &[],
    );
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("exposure level"),
        "{told}"
    );
}

#[test]
fn each_port_has_a_socket_of_its_name() {
    let stage = read("deploy/deb/stage.sh");
    for (unit, name, port) in SOCKETS {
        let text = read(&format!("deploy/systemd/{unit}"));
        for line in [
            format!("ListenStream={port}"),
            format!("FileDescriptorName={name}"),
        ] {
            assert!(text.lines().any(|it| it == line), "{unit}: {line}");
        }
        // By its name, or because it says so.
        let served = unit == "handfast.socket" || text.contains("\nService=handfast.service\n");
        assert!(served, "{unit} starts another service");
        assert!(stage.contains(unit), "{unit} is not packaged");
    }
    assert!(read("Cargo.toml").contains("target/deb/*.socket"));
}

/// It is told that the daemon is ready and alive; a reload is SIGHUP; what will fail again is not
/// tried again.
#[test]
fn the_unit_says_what_the_daemon_does() {
    let unit = read(UNIT);
    let command = "ExecStart=/usr/bin/handfast run --config /etc/handfast/handfast.toml";
    for line in [
        command,
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=30s",
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
