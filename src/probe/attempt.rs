//! What one connection of a probe came to.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::ending::Ending;
use super::judge::Verification;
use super::script::{Line, Script, cipher_name, group_name, signature_name};
use crate::report::{Agreed, Direction, micros, sentence};

/// One connection of a probe. In JSON, times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Attempt {
    /// The address that was connected to.
    pub address: Option<SocketAddr>,
    /// For the TCP connection to be there.
    #[serde(rename = "tcp_connect_us", serialize_with = "optional_micros")]
    pub tcp_connect: Option<Duration>,
    /// From then until the client could send its request; `None` when it failed.
    #[serde(rename = "handshake_us", serialize_with = "optional_micros")]
    pub handshake: Option<Duration>,
    /// How long the server took for each of its flights, the network included.
    #[serde(rename = "round_trips_us", serialize_with = "all_micros")]
    pub round_trips: Vec<Duration>,
    /// What was chosen.
    pub negotiated: Negotiated,
    /// The messages in order.
    pub messages: Vec<Step>,
    /// What the server showed; `None` in a handshake that resumes.
    pub verification: Option<Verification>,
    /// Why it failed.
    pub failure: Option<Ending>,
}

/// What was chosen, as far as it got. Names are IANA's, numbers where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Negotiated {
    /// `1.2` or `1.3`
    pub version: Option<&'static str>,
    /// `full` or `resumed`
    pub kind: Option<&'static str>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
    /// The scheme of the server's signature.
    pub signature: Option<String>,
    /// The protocol of ALPN.
    pub alpn: Option<String>,
    /// Whether a HelloRetryRequest came.
    pub hello_retry: bool,
    /// RFC 7627, which TLS 1.3 has no need of.
    pub extended_master_secret: Option<bool>,
    /// Whether an OCSP response was stapled.
    pub ocsp_stapled: bool,
    /// Whether a client certificate was asked for.
    pub client_certificate_requested: bool,
    /// Tickets received.
    pub tickets: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Counted from 1.
    pub step: usize,
    /// Who sent it: in JSON `client` or `server`.
    #[serde(rename = "from", serialize_with = "sender")]
    pub direction: Direction,
    /// Its name in RFC 8446 or RFC 5246.
    pub name: &'static str,
    /// Its length with its header.
    pub bytes: usize,
    /// When its last byte passed, since the TCP connection was there.
    #[serde(rename = "at_us", serialize_with = "one_micros")]
    pub at: Duration,
    /// Whether it was encrypted.
    pub encrypted: bool,
    /// What it does and what it chooses.
    pub what: String,
}

impl Attempt {
    /// Fills in what the script tells.
    pub(super) fn tell(&mut self, script: &Script) {
        let facts = &script.facts;
        let cipher = facts.cipher.map(cipher_name);
        let group = facts.group.map(group_name);
        let agreed = |line: &Line| {
            let agreed = Agreed {
                version: facts.version,
                resumed: facts.resumed,
                cipher: cipher.as_deref(),
                group: group.as_deref(),
                server_name: None,
                alpn: facts.alpn.as_deref(),
                alert: line.alert,
            };
            what(line, &agreed)
        };
        self.messages = script
            .lines
            .iter()
            .enumerate()
            .map(|(index, line)| Step {
                step: index + 1,
                direction: line.direction,
                name: line.name,
                bytes: line.bytes,
                at: line.at,
                encrypted: line.encrypted,
                what: agreed(line),
            })
            .collect();
        self.round_trips = script.round_trips(self.handshake);
        let stapled = self.verification.as_ref().is_some_and(|it| it.ocsp_stapled);
        let resumed = match facts.resumed {
            true => "resumed",
            false => "full",
        };
        self.negotiated = Negotiated {
            version: facts.version.map(|version| version.name()),
            kind: self.handshake.map(|_| resumed),
            cipher,
            group,
            signature: facts.signature.map(signature_name),
            alpn: facts.alpn.clone(),
            hello_retry: facts.hello_retry,
            extended_master_secret: facts.extended_master_secret,
            ocsp_stapled: facts.ocsp || stapled,
            client_certificate_requested: facts.certificate_requested,
            tickets: facts.tickets,
        };
    }
}

fn what(line: &Line, agreed: &Agreed<'_>) -> String {
    let sentence = match line.name {
        // Its detail says all of it.
        "ClientHello" => String::new(),
        "(unread)" => "An encrypted record that cannot be read.".to_owned(),
        name => sentence(line.direction, name, agreed),
    };
    match &line.detail {
        Some(detail) if sentence.is_empty() => detail.clone(),
        Some(detail) => format!("{sentence} {detail}"),
        None => sentence,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn sender<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match direction {
        Direction::In => "client",
        Direction::Out => "server",
    })
}

fn one_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(micros(*time))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn optional_micros<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(micros).serialize(serializer)
}

fn all_micros<S: Serializer>(times: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(times.iter().copied().map(micros))
}
