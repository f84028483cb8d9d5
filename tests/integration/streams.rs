//! Large bodies both ways: unchanged, and in little memory however slow a peer is.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::support::{
    Client, Daemon, Origin, Pace, Payload, Settings, Sha256, copy_body, read_head, read_response,
    sha256_of_payload,
};

const LARGE: u64 = 200_000_000;
const GROWTH: u64 = 32 * 1024 * 1024;

/// What goes at 2 MB/s: a part of it as a rule, all of it with `HANDFAST_SOAK`.
fn throttled() -> u64 {
    if std::env::var_os("HANDFAST_SOAK").is_some() {
        LARGE
    } else {
        16_000_000
    }
}

/// A daemon that has served a request over each protocol, so that its tables are warm.
fn daemon() -> Daemon {
    let daemon = Daemon::run_alone(&Settings::new(Origin::start().address()));
    for protocol in ["--http1.1", "--http2"] {
        daemon.curl(protocol, "/").run().success();
    }
    daemon
}

/// Runs `transfers` and asserts that the daemon's memory never grew by more than the bound.
#[track_caller]
fn assert_little_memory(daemon: &Daemon, transfers: impl FnOnce()) {
    let (before, _) = daemon.resident();
    transfers();
    let (_, peak) = daemon.resident();
    let grown = peak.saturating_sub(before);
    assert!(grown < GROWTH, "grew by {grown} bytes from {before}");
}

fn upload_h1(daemon: &Daemon, path: &str, length: u64, slow: bool) {
    let mut stream = Client::new().connect(daemon.https()).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: example.test\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut pace = slow.then(Pace::slow);
    let mut payload = Payload::new(length);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = payload.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count]).unwrap();
        if let Some(pace) = &mut pace {
            pace.spend(count);
        }
    }
    stream.flush().unwrap();
    let response = read_response(&mut BufReader::new(stream)).unwrap();
    let expected = format!("{} {length}\n", sha256_of_payload(length));
    assert_eq!(response.text(), expected, "{path}");
}

fn download_h1(daemon: &Daemon, path: &str, length: u64, slow: bool) {
    let mut stream = Client::new().connect(daemon.https()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: example.test\r\n\r\n").unwrap();
    let mut pace = slow.then(Pace::slow);
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let head = read_head(&mut reader).unwrap().unwrap();
    assert_eq!(head.status(), 200, "{path}");
    let mut digest = Sha256::new();
    copy_body(&mut reader, &head, true, &mut |bytes| {
        digest.update(bytes);
        if let Some(pace) = &mut pace {
            pace.spend(bytes.len());
        }
    })
    .unwrap();
    assert_eq!(digest.finish(), sha256_of_payload(length), "{path}");
}

fn upload_h2(daemon: &Daemon, path: &str, length: u64, args: &str) {
    let file = daemon.dir().join(format!("payload-{length}"));
    let args = format!("--http2 {args} -T {}", file.display());
    let output = daemon
        .curl(&args, path)
        .limit(Duration::from_secs(300))
        .run()
        .success();
    let expected = format!("{} {length}\n", sha256_of_payload(length));
    assert_eq!(output.stdout, expected, "{path}");
}

fn download_h2(daemon: &Daemon, path: &str, length: u64, args: &str) {
    let name = format!("got{}{args}", path.replace('/', "-")).replace(' ', "-");
    let file = daemon.dir().join(name);
    let args = format!("--http2 {args} -o {}", file.display());
    daemon
        .curl(&args, path)
        .limit(Duration::from_secs(300))
        .run()
        .success();
    assert_eq!(sha256_of_file(&file), sha256_of_payload(length), "{path}");
    std::fs::remove_file(file).unwrap();
}

fn write_payload(daemon: &Daemon, length: u64) {
    let mut file = File::create(daemon.dir().join(format!("payload-{length}"))).unwrap();
    io::copy(&mut Payload::new(length), &mut file).unwrap();
}

fn sha256_of_file(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return digest.finish(),
            count => digest.update(&buffer[..count]),
        }
    }
}

#[test]
fn two_hundred_megabytes_pass_unchanged_over_h1() {
    let daemon = daemon();
    assert_little_memory(&daemon, || {
        upload_h1(&daemon, "/sink", LARGE, false);
        download_h1(&daemon, &format!("/source/{LARGE}"), LARGE, false);
        download_h1(&daemon, &format!("/source/{LARGE}?chunked"), LARGE, false);
    });
}

#[test]
fn two_hundred_megabytes_pass_unchanged_over_h2() {
    let daemon = daemon();
    write_payload(&daemon, LARGE);
    assert_little_memory(&daemon, || {
        upload_h2(&daemon, "/sink", LARGE, "");
        download_h2(&daemon, &format!("/source/{LARGE}"), LARGE, "");
    });
}

#[test]
fn slow_clients_and_slow_upstreams_hold_back_the_other_side() {
    let daemon = daemon();
    let length = throttled();
    write_payload(&daemon, length);
    let source = format!("/source/{length}");
    let slow_source = format!("/slow-source/{length}");
    // All at once, to wait once; the bound then holds for their sum.
    assert_little_memory(&daemon, || {
        std::thread::scope(|scope| {
            scope.spawn(|| upload_h1(&daemon, "/sink", length, true));
            scope.spawn(|| download_h1(&daemon, &source, length, true));
            scope.spawn(|| upload_h1(&daemon, "/slow-sink", length, false));
            scope.spawn(|| download_h1(&daemon, &slow_source, length, false));
            scope.spawn(|| upload_h2(&daemon, "/sink", length, "--limit-rate 2M"));
            scope.spawn(|| download_h2(&daemon, &source, length, "--limit-rate 2M"));
            scope.spawn(|| upload_h2(&daemon, "/slow-sink", length, ""));
            scope.spawn(|| download_h2(&daemon, &slow_source, length, ""));
        });
    });
}
