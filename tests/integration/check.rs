//! `handfast check`: every fault at once, each with its place.

use std::path::Path;

use tempfile::TempDir;

use crate::support::{Output, Tool, certs};

fn handfast(args: &[&str], file: &Path) -> Output {
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .args(args)
        .args([Path::new("--config"), file])
        .run()
}

fn dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    certs().write(dir.path());
    dir
}

/// The six lines of the documentation, with certificates in `dir`.
fn six_lines(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"[[listeners]]
address = "[::]:443"
certificate = {{ chain = "{dir}/main.pem", key = "{dir}/main.key" }}

[[routes]]
upstream = "http://127.0.0.1:3000"
"#
    )
}

/// `(line, column, message)` of every diagnostic of `file`.
fn located(output: &Output, file: &Path) -> Vec<(usize, usize, String)> {
    let prefix = format!("{}:", file.display());
    let mut found = Vec::new();
    for line in output.stdout.lines().chain(output.stderr.lines()) {
        let Some(rest) = line.strip_prefix(&prefix) else {
            continue;
        };
        let mut parts = rest.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        if let (Some(line), Some(column)) = (number(), number()) {
            found.push((line, column, parts.next().unwrap_or_default().to_owned()));
        }
    }
    found
}

#[test]
fn five_faults_are_five_located_errors() {
    let dir = dir();
    let file = dir.path().join("bad.toml");
    let text = r#"[[listeners]]
address = "127.0.0.1:0"
adress = "127.0.0.1:1"
certificates = ["main"]

[tls.default]
cipher_suites = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
]

[certificates.main]
chain = "main.pem"
key = "main.key"

[[routes]]
upstream = "apo"

[upstreams.api]
servers = [{ address = "127.0.0.1:8080" }]

[limits]
connections = "many"
request_boddy = "1MiB"
"#;
    std::fs::write(&file, text).unwrap();
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    let found = located(&output, &file);
    let places: Vec<(usize, usize)> = found
        .iter()
        .map(|(line, column, _)| (*line, *column))
        .collect();
    assert_eq!(
        places,
        [(3, 1), (10, 5), (18, 12), (24, 15), (25, 1)],
        "{output}"
    );
    for ((_, _, message), word) in found.iter().zip([
        "adress",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "apo",
        "expected",
        "request_boddy",
    ]) {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    let all = format!("{}{}", output.stdout, output.stderr);
    for suggestion in ["`address`", "`api`", "`request_body`"] {
        assert!(
            all.contains(suggestion),
            "{suggestion} is not suggested: {output}"
        );
    }
    assert!(all.contains('^'), "no caret: {output}");
}

#[test]
fn the_six_line_file_is_enough() {
    let dir = dir();
    let file = dir.path().join("minimal.toml");
    std::fs::write(&file, six_lines(dir.path())).unwrap();
    handfast(&["check"], &file).success();
}

#[test]
fn certificate_files_are_read_unless_told_otherwise() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("minimal.toml");
    std::fs::write(&file, six_lines(dir.path())).unwrap();
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("main.pem"), "{output}");
    handfast(&["check", "--no-files"], &file).success();
}

#[test]
fn a_key_that_is_not_the_certificates_is_an_error() {
    let dir = dir();
    let file = dir.path().join("mixed.toml");
    let text = six_lines(dir.path()).replace("main.key", "wild.key");
    std::fs::write(&file, text).unwrap();
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
}

#[test]
fn faults_of_included_files_are_located_there() {
    let dir = dir();
    let file = dir.path().join("main.toml");
    let parts = dir.path().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    std::fs::write(
        &file,
        format!("include = [\"conf.d/*.toml\"]\n{}", six_lines(dir.path())),
    )
    .unwrap();
    let part = |name: &str, text: &str| {
        let path = parts.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    handfast(&["check"], &file).success();

    let (a, b) = (
        part(
            "a.toml",
            "[[routes]]\nhost = \"a.test\"\nupstream = \"apo\"\n[limits]\nh2_streams = 7\n",
        ),
        part(
            "b.toml",
            "\n\n[[routes]]\nhst = \"a.test\"\n[limits]\nh2_streams = 8\n",
        ),
    );
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    assert_eq!(located(&output, &file), [], "{output}");
    let places = |path: &Path| -> Vec<_> {
        let found = located(&output, path);
        found
            .iter()
            .map(|(line, column, _)| (*line, *column))
            .collect()
    };
    assert_eq!(places(&a), [(3, 12)], "{output}");
    assert_eq!(places(&b), [(3, 1), (3, 1), (4, 1), (6, 1)], "{output}");
    let first = format!("the first is in {}:5", a.display());
    assert!(output.stderr.contains(&first), "{output}");

    // What shows when the files are opened, too.
    part("a.toml", "");
    let b = part(
        "b.toml",
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificate = { chain = \"no.pem\", key = \"no.key\" }\n",
    );
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    let found = located(&output, &b);
    assert!(!found.is_empty(), "{output}");
    let missing = parts.join("no.pem").display().to_string();
    assert!(found.iter().all(|(line, ..)| *line == 3), "{output}");
    assert!(output.stderr.contains(&missing), "{output}");
}

#[test]
fn run_refuses_what_check_refuses() {
    let dir = dir();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, six_lines(dir.path()).replace("routes", "rutes")).unwrap();
    let output = handfast(&["run"], &file);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("rutes"), "{output}");
}

#[test]
fn a_file_that_is_not_there_is_a_configuration_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("absent.toml");
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("absent.toml"), "{output}");
}

#[test]
fn usage_errors_exit_with_2() {
    let output = Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .words("check --no-such-option")
        .run();
    assert_eq!(output.code, 2, "{output}");
}

#[test]
fn two_policies_for_one_name_are_refused() {
    let dir = dir();
    let file = dir.path().join("conflict.toml");
    let text = r#"[[listeners]]
address = "127.0.0.1:0"
certificates = ["main", "rsa"]

[tls.strict]
preset = "modern-5.8"

[certificates.main]
chain = "main.pem"
key = "main.key"

[certificates.rsa]
chain = "rsa.pem"
key = "rsa.key"
tls = "strict"

[[routes]]
upstream = "http://127.0.0.1:3000"
"#;
    std::fs::write(&file, text).unwrap();
    let output = handfast(&["check"], &file);
    assert_eq!(output.code, 78, "{output}");
    let found = located(&output, &file);
    assert!(!found.is_empty(), "{output}");
    for (line, _, message) in &found {
        assert_eq!(*line, 12, "{output}");
        assert!(
            message.contains("`strict`") && message.contains("`default`"),
            "{output}"
        );
    }
    assert!(output.stderr.contains("`localhost`"), "{output}");

    // The same policy, or names that differ, are no conflict.
    for text in [
        text.replace("tls = \"strict\"\n", ""),
        text.replace(
            "tls = \"strict\"\n",
            "tls = \"strict\"\nnames = [\"127.0.0.1\"]\n",
        )
        .replace(
            "[certificates.main]\n",
            "[certificates.main]\nnames = [\"localhost\"]\n",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = handfast(&["check"], &file);
        assert_eq!(output.code, 0, "{output}");
    }
}

#[test]
fn files_of_client_auth_are_checked() {
    let dir = dir();
    let file = dir.path().join("clients.toml");
    for (field, message) in [
        ("ca = \"missing.pem\"", "missing.pem: cannot be read"),
        (
            "ca = \"main.key\"",
            "main.key: has a private key and no certificate",
        ),
        (
            "crl = \"main.pem\", ca = \"ca.pem\"",
            "main.pem: has no revocation list",
        ),
    ] {
        let client_auth = format!("client_auth = {{ mode = \"required\", {field} }}");
        let text = format!("[tls.default]\n{client_auth}\n{}", six_lines(dir.path()));
        std::fs::write(&file, text).unwrap();
        let output = handfast(&["check"], &file);
        assert_eq!(output.code, 78, "{output}");
        let found = located(&output, &file);
        assert_eq!(found.len(), 1, "{output}");
        assert_eq!(found[0].0, 2, "{output}");
        assert!(found[0].2.contains(message), "{output}");
        let output = handfast(&["check", "--no-files"], &file);
        assert_eq!(output.code, 0, "{output}");
    }
}

#[test]
fn a_public_admin_address_needs_a_token_that_is_one() {
    let dir = dir();
    let file = dir.path().join("handfast.toml");
    let check = |admin: &str, args: &[&str]| {
        let text = format!(
            "{}\n[admin]\naddress = \"0.0.0.0:9180\"\n{admin}",
            six_lines(dir.path())
        );
        std::fs::write(&file, text).unwrap();
        let output = handfast(args, &file);
        (output.code, located(&output, &file))
    };
    let (status, faults) = check("", &["check"]);
    assert_eq!((status, faults.len()), (78, 1));
    assert_eq!((faults[0].0, faults[0].1), (9, 11));
    let token = "token_file = \"token\"";
    let (status, faults) = check(token, &["check"]);
    assert_eq!((status, faults.len()), (78, 1));
    assert_eq!((faults[0].0, faults[0].1), (10, 14));
    assert_eq!(check(token, &["check", "--no-files"]).0, 0);
    std::fs::write(dir.path().join("token"), "short").unwrap();
    let (_, faults) = check(token, &["check"]);
    assert!(faults[0].2.contains("at least 16 characters"), "{faults:?}");
    std::fs::write(dir.path().join("token"), "0123456789abcdef\n").unwrap();
    assert_eq!(check(token, &["check"]).0, 0);
}
