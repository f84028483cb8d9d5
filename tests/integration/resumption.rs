//! Resumption with real clients: by ticket and by session ID, over reloads, rotations and
//! processes; and where it must not be, a full handshake with exactly the reason.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Activation, Daemon, Handshake, Origin, Output, Settings, Tool, certs, pause, wait_until,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";
const SOON: Duration = Duration::from_secs(15);

/// Each way in which openssl keeps a session: TLS 1.2 by ticket and by ID, TLS 1.3 by ticket.
const WAYS: [&str; 3] = ["-tls1_2", "-tls1_2 -no_ticket", "-tls1_3"];

fn settings(resumption: &str) -> Settings {
    Settings::new(Origin::start().address()).policy(&format!("resumption = {{ {resumption} }}"))
}

fn in_directory(keys: &Path, more: &str) -> Settings {
    settings(&format!("key_dir = \"{}\"{more}", keys.display()))
}

/// One handshake of openssl with its request.
#[track_caller]
fn s_client(daemon: &Daemon, args: &str) -> (Output, Handshake) {
    let (output, handshake) = daemon.new_handshake(|| {
        Tool::new("openssl")
            .words("s_client -servername example.test -verify_return_error -ign_eof")
            .args(["-CAfile", &daemon.ca()])
            .args(["-connect", &daemon.https().to_string()])
            .words(args)
            .stdin(REQUEST)
            .run()
            .success()
    });
    assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
    assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
    handshake.assert_sum();
    (output, handshake)
}

/// A session that openssl keeps in a file.
struct Session {
    file: PathBuf,
    way: &'static str,
}

impl Session {
    /// From a full handshake.
    #[track_caller]
    fn begin(daemon: &Daemon, way: &'static str) -> Self {
        let name: String = way.split_whitespace().collect();
        let file = daemon.dir().join(format!("session{name}.pem"));
        let (_, handshake) = s_client(daemon, &format!("{way} -sess_out {}", file.display()));
        assert_eq!(handshake.text("kind"), Some("full"), "{handshake}");
        assert_eq!(
            handshake.text("resumption"),
            Some("not_offered"),
            "{handshake}"
        );
        Self { file, way }
    }

    fn all(daemon: &Daemon) -> Vec<Self> {
        WAYS.iter().map(|way| Self::begin(daemon, way)).collect()
    }

    /// Offers it, and expects this outcome.
    #[track_caller]
    fn expect(&self, daemon: &Daemon, resumption: &str) -> Handshake {
        let args = format!("{} -sess_in {}", self.way, self.file.display());
        let (output, handshake) = s_client(daemon, &args);
        let (kind, says) = match resumption {
            "hit" => ("resumed", "Reused, TLSv1."),
            _ => ("full", "New, TLSv1."),
        };
        let way = self.way;
        assert!(output.stdout.contains(says), "{way}: {output}");
        assert_eq!(
            handshake.text("resumption"),
            Some(resumption),
            "{way}: {handshake}"
        );
        assert_eq!(handshake.text("kind"), Some(kind), "{way}: {handshake}");
        handshake
    }
}

/// Puts another configuration in place and waits until it serves.
fn reload(daemon: &Daemon, text: &str) {
    let before = daemon.metric("config_reloads_total", &[("result", "ok")]);
    daemon.rewrite(text);
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], before + 1.0);
}

fn changes(daemon: &Daemon) -> usize {
    let records = daemon.log().records();
    let changed = |record: &&serde_json::Value| {
        record["fields"]["message"] == "ticket keys changed"
            || record["message"] == "ticket keys changed"
    };
    records.iter().filter(changed).count()
}

#[track_caller]
fn wait_for_new_keys(daemon: &Daemon, before: usize) {
    wait_until(SOON, "ticket keys change", || changes(daemon) > before);
}

fn ticket_key(args: &[&str], keys: &Path) -> Output {
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .args(["ticket-key"])
        .args(args)
        .args([keys])
        .run()
}

fn keys() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let keys = directory.path().join("keys");
    ticket_key(&["new"], &keys).success();
    (directory, keys)
}

#[test]
fn openssl_resumes_in_every_way_and_tells_the_age() {
    let daemon = Daemon::run(&settings(""));
    for session in Session::all(&daemon) {
        let handshake = session.expect(&daemon, "hit");
        let age = handshake.0["session_age_us"].as_f64().unwrap();
        assert!((0.0..60e6).contains(&age), "{handshake}");
        session.expect(&daemon, "hit");
    }
    let age = daemon.metric("tls_ticket_key_age_seconds", &[("policy", "default")]);
    assert!(age < 60.0, "{age}");
    for version in ["1.2", "1.3"] {
        let labels = |result| [("version", version), ("result", result)];
        let of_version = WAYS
            .iter()
            .filter(|way| way.contains(&version.replace('.', "_")));
        let ways = of_version.count() as f64;
        daemon.wait_metric("tls_resumption_total", &labels("hit"), 2.0 * ways);
        daemon.wait_metric("tls_resumption_total", &labels("not_offered"), ways);
    }
}

#[test]
fn gnutls_resumes_by_ticket_and_by_session_id() {
    for (mode, args) in [
        ("mode = \"tickets\"", ""),
        ("mode = \"tickets\"", "--noticket"),
        ("mode = \"cache\"", ""),
    ] {
        let daemon = Daemon::run(&settings(mode));
        for version in ["1.2", "1.3"] {
            // --noticket takes all resumption out of TLS 1.3.
            if version == "1.3" && args == "--noticket" {
                continue;
            }
            let (output, handshakes) = daemon.new_handshakes(2, || {
                Tool::new("gnutls-cli")
                    .words("--sni-hostname=example.test --verify-hostname=example.test")
                    .words("--alpn=http/1.1 --resume --waitresumption")
                    .args([format!("--x509cafile={}", daemon.ca())])
                    .args([format!("--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}")])
                    .words(args)
                    .args(["--port", &daemon.https().port().to_string(), "127.0.0.1"])
                    .stdin(REQUEST)
                    .run()
                    .success()
            });
            assert!(
                output.stdout.contains("This is a resumed session"),
                "{output}"
            );
            let hits: Vec<_> = handshakes.iter().map(|it| it.text("resumption")).collect();
            assert_eq!(
                hits,
                [Some("not_offered"), Some("hit")],
                "{mode} {args} {version}"
            );
        }
    }
}

#[test]
fn the_modes_keep_their_word() {
    let daemon = Daemon::run(&settings("mode = \"cache\""));
    for session in Session::all(&daemon) {
        session.expect(&daemon, "hit");
        // A session of TLS 1.3 is used once where it is stored.
        let again = if session.way == "-tls1_3" {
            "cache_miss"
        } else {
            "hit"
        };
        session.expect(&daemon, again);
    }
    assert_eq!(
        daemon
            .metrics()
            .iter()
            .filter(|it| it.name.contains("ticket_key"))
            .count(),
        0
    );
    drop(daemon);

    let daemon = Daemon::run(&settings(""));
    let sessions = Session::all(&daemon);
    reload(&daemon, &settings("mode = \"off\"").render(daemon.dir()));
    for (session, reason) in sessions
        .iter()
        .zip(["unknown_key", "cache_miss", "unknown_key"])
    {
        session.expect(&daemon, reason);
    }
    for way in WAYS {
        let (output, _) = s_client(&daemon, way);
        assert!(!output.stdout.contains("session ticket:"), "{output}");
    }
}

#[test]
fn a_resumed_handshake_gives_back_the_ticket_that_it_used() {
    for (resumption, of_full, of_resumed) in [
        ("", 2, 1),
        ("mode = \"cache\"", 2, 1),
        ("tickets = 4", 4, 1),
        ("tickets = 0", 0, 0),
    ] {
        let daemon = Daemon::run(&settings(resumption));
        let mut tickets = Vec::new();
        let file = daemon.dir().join("session.pem");
        for (way, kind) in [("-sess_out", "full"), ("-sess_in", "resumed")] {
            // Without a ticket there is nothing to resume.
            if way == "-sess_in" && !file.exists() {
                tickets.push(0);
                continue;
            }
            let args = format!("-tls1_3 {way} {}", file.display());
            let (output, handshake) = s_client(&daemon, &args);
            assert_eq!(handshake.text("kind"), Some(kind), "{handshake}");
            let arrived = "Post-Handshake New Session Ticket arrived:";
            tickets.push(output.stdout.matches(arrived).count());
        }
        assert_eq!(tickets, [of_full, of_resumed], "{resumption}");
    }
}

#[test]
fn a_reload_keeps_sessions_of_a_policy_that_did_not_change() {
    let before = settings("");
    let daemon = Daemon::run(&before);
    let sessions = Session::all(&daemon);
    let text = before.render(daemon.dir());
    let other = text.replace(
        "[tls.default]",
        "\n\n[tls.default]\nhandshake_timeout = \"9s\"",
    );
    reload(&daemon, &other);
    for session in &sessions {
        session.expect(&daemon, "hit");
    }
}

#[test]
fn a_lifetime_that_is_over_is_expired() {
    let (_kept, keys) = keys();
    for (before, after) in [
        (settings(""), settings("lifetime = \"1s\"")),
        (
            in_directory(&keys, ""),
            in_directory(&keys, ", lifetime = \"1s\""),
        ),
    ] {
        let daemon = Daemon::run(&before);
        let sessions = Session::all(&daemon);
        for session in &sessions {
            session.expect(&daemon, "hit");
        }
        // openssl believes in the lifetime that it was told, and offers them still.
        reload(&daemon, &after.render(daemon.dir()));
        pause(Duration::from_millis(1100));
        for session in &sessions {
            session.expect(&daemon, "expired");
        }
    }
}

#[test]
fn resumption_does_not_make_a_session_younger() {
    let daemon = Daemon::run(&settings(""));
    for way in ["-tls1_2", "-tls1_3"] {
        let session = Session::begin(&daemon, way);
        pause(Duration::from_millis(300));
        let args = |file: &Path| {
            format!(
                "{way} -sess_in {} -sess_out {}",
                file.display(),
                file.display()
            )
        };
        let mut last = 0.0;
        for _ in 0..3 {
            let (_, handshake) = s_client(&daemon, &args(&session.file));
            assert_eq!(handshake.text("resumption"), Some("hit"), "{handshake}");
            let age = handshake.0["session_age_us"].as_f64().unwrap();
            assert!(age >= 300_000.0 && age > last, "{last} {handshake}");
            last = age;
        }
    }
}

#[test]
fn a_key_that_is_gone_is_unknown_and_one_that_was_rotated_is_not() {
    let (_kept, keys) = keys();
    let daemon = Daemon::run(&in_directory(&keys, ""));
    let old = [
        Session::begin(&daemon, "-tls1_2"),
        Session::begin(&daemon, "-tls1_3"),
    ];

    let known = changes(&daemon);
    ticket_key(&["rotate", "--keep", "2"], &keys).success();
    wait_for_new_keys(&daemon, known);
    for session in &old {
        session.expect(&daemon, "hit");
    }
    let known = changes(&daemon);
    let rotated = ticket_key(&["rotate", "--keep", "1"], &keys).success();
    assert_eq!(rotated.stdout.matches("made ").count(), 1, "{rotated}");
    assert_eq!(rotated.stdout.matches("removed ").count(), 2, "{rotated}");
    wait_for_new_keys(&daemon, known);
    for session in &old {
        session.expect(&daemon, "unknown_key");
    }
}

#[test]
fn a_damaged_ticket_is_corrupt() {
    let (_kept, keys) = keys();
    let file = std::fs::read_dir(&keys).unwrap().next().unwrap().unwrap();
    let key = std::fs::read(file.path()).unwrap();
    let daemon = Daemon::run(&in_directory(&keys, ""));
    for way in ["-tls1_2", "-tls1_3"] {
        let session = Session::begin(&daemon, way);
        session.expect(&daemon, "hit");
        let der = session.file.with_extension("der");
        let convert = |from: &Path, to: &Path, formats: &str| {
            let tool = Tool::new("openssl").words("sess_id").words(formats);
            tool.args([Path::new("-in"), from, Path::new("-out"), to])
                .run()
                .success();
        };
        convert(&session.file, &der, "-outform DER");
        let mut bytes = std::fs::read(&der).unwrap();
        // A ticket begins with the name of its key; its header has 64 bytes.
        let at = bytes.windows(16).position(|bytes| *bytes == key[..16]);
        bytes[at.unwrap() + 70] ^= 1;
        std::fs::write(&der, bytes).unwrap();
        convert(&der, &session.file, "-inform DER");
        session.expect(&daemon, "corrupt");
    }
}

#[test]
fn a_session_of_a_suite_that_is_not_chosen_is_rejected() {
    let before = settings("");
    let daemon = Daemon::run(&before);
    let sessions = Session::all(&daemon);
    let suites = "cipher_suites = [\"TLS_AES_256_GCM_SHA384\", \"ECDHE-ECDSA-AES256-GCM-SHA384\", \
                  \"ECDHE-RSA-AES256-GCM-SHA384\"]";
    let text = before.render(daemon.dir());
    let text = text.replace("[tls.default]", &format!("[tls.default]\n{suites}"));
    reload(&daemon, &text);
    for session in &sessions {
        session.expect(&daemon, "rejected");
    }
}

#[test]
fn keys_rotate_by_themselves() {
    let daemon = Daemon::run(&settings("rotate = \"1s\", lifetime = \"60s\""));
    let sessions = Session::all(&daemon);
    let known = changes(&daemon);
    wait_for_new_keys(&daemon, known);
    for session in &sessions {
        session.expect(&daemon, "hit");
    }
}

#[test]
fn a_session_of_another_policy_is_refused_with_the_same_keys() {
    let (_kept, keys) = keys();
    let before = in_directory(&keys, "");
    let daemon = Daemon::run(&before);
    let sessions = [
        Session::begin(&daemon, "-tls1_2"),
        Session::begin(&daemon, "-tls1_3"),
    ];
    let other = format!(
        "[tls.other]\nresumption = {{ key_dir = \"{}\" }}",
        keys.display()
    );
    let moved = before.more(&other).render(daemon.dir());
    let moved = moved.replace("name = \"https\"\n", "name = \"https\"\ntls = \"other\"\n");
    reload(&daemon, &moved);
    for session in &sessions {
        session.expect(&daemon, "scope");
    }
}

#[test]
fn two_processes_share_a_directory_and_two_without_do_not() {
    let (_kept, keys) = keys();
    // As nginx's manual makes them.
    Tool::new("sh")
        .args([
            "-c",
            "openssl rand 80 > \"$0\"/fleet.key && chmod 600 \"$0\"/fleet.key",
        ])
        .args([&keys])
        .run()
        .success();
    let one = Daemon::run(&in_directory(&keys, ""));
    let other = one.run_beside(&in_directory(&keys, ""));
    let stranger = one.run_beside(&settings(""));
    for way in ["-tls1_2", "-tls1_3"] {
        let session = Session::begin(&one, way);
        session.expect(&other, "hit");
        session.expect(&stranger, "unknown_key");
        session.expect(&one, "hit");
    }
    // And whoever runs them can tell why.
    for (daemon, hits, unknown) in [(&other, 2.0, 0.0), (&stranger, 0.0, 2.0)] {
        for (result, count) in [("hit", hits), ("unknown_key", unknown)] {
            let labels = [("listener", "https"), ("result", result)];
            daemon.wait_metric("tls_resumption_total", &labels, count);
        }
        let page = daemon.admin("/").text();
        let told = page.contains(
            "of offers were tickets sealed with an unknown key: do the replicas share keys, and \
             does a key outlive the tickets that it sealed?",
        );
        assert_eq!(told, unknown > 0.0, "{page}");
    }
}

/// Ends `first`, and starts the daemon once more with its directory.
fn restarted(first: &mut Daemon, before: &str) -> Daemon {
    first.signal("TERM");
    assert_eq!(first.wait_exit(SOON).code(), Some(0));
    let mut second = first.activate_again(&Activation::new([]), before);
    second.wait_listening("https");
    second
}

#[test]
fn tickets_of_before_a_restart_resume_where_keys_are_kept() {
    // By the configuration, by systemd, and not at all.
    let state = TempDir::new().unwrap();
    let service = format!("export STATE_DIRECTORY={}/a:/b", state.path().display());
    let own = format!("[runtime]\nstate_dir = \"{}/b\"", state.path().display());
    for (more, before, ticket) in [
        (&*own, ":", "hit"),
        ("", &*service, "hit"),
        ("", ":", "unknown_key"),
    ] {
        let settings = settings("").more(more);
        let mut first = Daemon::activate(&settings, &Activation::new([]), before);
        first.wait_listening("https");
        let sessions = Session::all(&first);
        let second = restarted(&mut first, before);
        for session in sessions {
            // What is stored by ID ends with the process.
            let stored = session.way.contains("-no_ticket");
            let expected = if stored { "cache_miss" } else { ticket };
            session.expect(&second, expected);
        }
    }
    for directory in ["a", "b"] {
        let file = state.path().join(directory).join("ticket-keys-default");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

#[test]
fn kept_keys_that_others_can_read_are_refused_and_replaced() {
    let settings = settings("").more("[runtime]\nstate_dir = \"state\"");
    let mut first = Daemon::activate(&settings, &Activation::new([]), ":");
    first.wait_listening("https");
    let session = Session::begin(&first, "-tls1_3");
    let file = first.dir().join("state/ticket-keys-default");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut second = restarted(&mut first, ":");
    session.expect(&second, "unknown_key");
    let text = second.log().text();
    let told = format!("{} has the mode 0644", file.display());
    assert!(text.contains(&told) && text.contains("WARN"), "{text}");
    let own = Session::begin(&second, "-tls1_3");
    let third = restarted(&mut second, ":");
    own.expect(&third, "hit");
}

#[test]
fn the_command_makes_private_files_and_check_names_bad_ones() {
    use std::os::unix::fs::PermissionsExt;

    let (kept, keys) = keys();
    let file = std::fs::read_dir(&keys).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.metadata().unwrap().len(), 80);

    certs().write(kept.path());
    let configuration = kept.path().join("handfast.toml");
    let origin = ([127, 0, 0, 1], 1).into();
    let policy = "resumption = { key_dir = \"keys\" }";
    let text = Settings::new(origin).policy(policy).render(kept.path());
    std::fs::write(&configuration, &text).unwrap();
    let check = || {
        Tool::new(env!("CARGO_BIN_EXE_handfast"))
            .words("check --config")
            .args([&configuration])
            .run()
    };
    check().success();

    std::fs::write(keys.join("bad"), [1; 32]).unwrap();
    let output = check();
    assert_eq!(output.code, 78, "{output}");
    let line = 1 + text.lines().position(|line| line == policy).unwrap();
    let place = format!("{}:{line}:26:", configuration.display());
    let found = output.stderr.lines().find(|line| line.starts_with(&place));
    let found = found.unwrap_or_else(|| panic!("{output}"));
    let reason = format!(
        "{}: holds 32 bytes; a ticket key has 48 or 80",
        keys.join("bad").display()
    );
    assert!(found.contains(&reason), "{output}");

    let denied = ticket_key(&["new"], Path::new("/proc/keys"));
    assert_eq!(denied.code, 1, "{denied}");
}
