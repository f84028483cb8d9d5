//! The tables about the process: `[log]`, `[admin]` and `[health]`.

use std::path::Path;

use super::texts::{BASE, with};
use crate::config::{AccessFormat, ClientIp, HandshakeLog, defaults, parse};

#[test]
fn handshake_events_are_bounded() {
    let read = |fields: &str| {
        let text = format!("[log]\nhandshake = {{ {fields} }}\n{BASE}");
        let config = parse(&text, Path::new("x.toml")).map(|loaded| loaded.config.log.handshake);
        config.map_err(|faults| faults.items[0].message.clone())
    };
    let default = defaults::LOG.handshake;
    assert_eq!(read(""), Ok(default));
    for (sample, millionths) in [("1", 1_000_000), ("0.25", 250_000), ("0", 0), ("1e-6", 1)] {
        let expected = HandshakeLog {
            sample: millionths,
            ..default
        };
        assert_eq!(read(&format!("sample = {sample}")), Ok(expected));
    }
    for sample in ["1.01", "-0.1", "nan", "inf", "1e-7", "2"] {
        let message = format!("expected a share from 0.000001 to 1, or 0, found {sample}");
        assert_eq!(read(&format!("sample = {sample}")), Err(message));
    }
    assert!(
        read("sample = \"1\"")
            .unwrap_err()
            .contains("a share such as 0.01")
    );
    let unlimited = HandshakeLog {
        failures_per_second: None,
        client_ip: ClientIp::Truncate,
        ..default
    };
    let fields = "failures_per_second = \"unlimited\", client_ip = \"truncate\"";
    assert_eq!(read(fields), Ok(unlimited));
    assert!(read("failures_per_second = 0").is_err());
}

#[test]
fn access_logs_have_a_format() {
    for (fields, access) in [
        ("", Some(AccessFormat::Json)),
        ("format = \"combined\"", Some(AccessFormat::Combined)),
        ("enabled = false, format = \"combined\"", None),
        ("enabled = true", Some(AccessFormat::Json)),
    ] {
        let config = with(&format!("[log]\naccess = {{ {fields} }}"));
        assert_eq!(config.log.access, access, "{fields}");
    }
}

#[test]
fn a_token_opens_the_admin_address_to_others() {
    let text = "[admin]\naddress = \"0.0.0.0:9180\"\ntoken_file = \"token\"\n\
                [health]\naddress = \"[::]:9181\"";
    let config = with(text);
    let token = config.admin.token_file.unwrap();
    assert_eq!(token.path, Path::new("/etc/handfast/token"));
    assert_eq!(config.health.address.unwrap().address.port(), 9181);
}
