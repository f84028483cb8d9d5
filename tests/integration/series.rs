//! Many clients with many names: neither series nor memory grow with them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Client, Daemon, Origin, Settings};

/// As many connections as `make test` has time for; all that are meant with `HANDFAST_SOAK`.
fn connections() -> u64 {
    match std::env::var_os("HANDFAST_SOAK") {
        Some(_) => 100_000,
        None => 2000,
    }
}

/// A ClientHello whose server name can be written over.
struct Hello {
    bytes: Vec<u8>,
    at: usize,
    length: usize,
}

impl Hello {
    fn new(name: &str) -> Self {
        let bytes = Client::new().name(name).hello();
        let mut windows = bytes.windows(name.len());
        let at = windows.position(|window| window == name.as_bytes());
        Self {
            at: at.unwrap(),
            length: name.len(),
            bytes,
        }
    }

    /// Sends it with `change` made to each byte of the name; what comes first is the answer.
    fn send(&mut self, address: SocketAddr, mut change: impl FnMut(usize, u8) -> u8) {
        let name = &mut self.bytes[self.at..self.at + self.length];
        for (index, byte) in name.iter_mut().enumerate() {
            *byte = change(index, *byte);
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(&self.bytes).unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    }
}

/// Numbers that look like chance and are the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut hash = self.0;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    fn letter(&mut self) -> u8 {
        b'a' + u8::try_from(self.next() % 26).unwrap()
    }

    fn mixed(&mut self, byte: u8) -> u8 {
        match self.next() % 2 {
            0 => byte.to_ascii_uppercase(),
            _ => byte.to_ascii_lowercase(),
        }
    }
}

#[test]
fn names_from_the_wire_make_no_series() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    let mut chance = Chance(7);
    let mut unknown = Hello::new("aaaaaaaaaaaaaaaa.unknown.test");
    let mut wild = Hello::new("aaaaaaaaaaaaaaaa.wild.test");
    let mut valid = Hello::new("example.test");
    let mut crowd = |count: u64| {
        for number in 0..count {
            match number % 4 {
                0 => valid.send(daemon.https(), |_, byte| chance.mixed(byte)),
                1 => wild.send(daemon.https(), |index, byte| match index {
                    0..16 => chance.letter(),
                    _ => chance.mixed(byte),
                }),
                _ => unknown.send(daemon.https(), |index, byte| match index {
                    0..16 => chance.letter(),
                    _ => byte,
                }),
            }
            if number % 100 == 0 {
                Client::new().get_raw(daemon.https(), "/").unwrap();
            }
        }
        daemon.wait_metric("tls_handshakes_in_flight", &[], 0.0);
    };
    // Until the ring is full and every class has occurred.
    crowd(connections() / 2);
    let series = daemon.metrics().len();
    let (resident, _) = daemon.resident();
    crowd(connections() / 2);
    let samples = daemon.metrics();
    // One that ended in a rarer way, as with a reset, makes a series of a fixed list.
    let grown = samples.len().saturating_sub(series);
    assert!(grown <= 6, "{grown} series more than {series}");
    let names: BTreeSet<_> = samples
        .iter()
        .filter_map(|sample| sample.labels.get("server_name").map(String::as_str))
        .collect();
    assert_eq!(
        names,
        BTreeSet::from(["*.wild.test", "example.test", "none", "other"])
    );
    let unknown = daemon.metric("tls_handshake_failures_total", &[("class", "unknown_sni")]);
    assert_eq!(unknown, (connections() / 2) as f64);
    let (after, _) = daemon.resident();
    let more = after.saturating_sub(resident);
    assert!(more < 16 << 20, "{more} bytes more than {resident}");
}
