//! A report as JSON: the same fields in the event log and in the admin API.

use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use super::handshake::{HandshakeReport, Message, Outcome};
use super::network::{ExtraRoundTrip, Network, Wait};
use super::phase::{Parts, Phases};

impl Serialize for HandshakeReport {
    /// The fields of one handshake: times in microseconds with three decimals, `time` in RFC 3339.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("HandshakeReport", 29)?;
        out.serialize_field("id", &self.id.to_string())?;
        out.serialize_field(
            "time",
            &OffsetDateTime::from(self.time)
                .format(&Rfc3339)
                .unwrap_or_default(),
        )?;
        out.serialize_field("listener", &*self.listener)?;
        out.serialize_field("peer", &self.peer.to_string())?;
        out.serialize_field("proxy", &self.proxy.map(|proxy| proxy.to_string()))?;
        out.serialize_field(
            "outcome",
            match self.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed(_) => "failed",
                Outcome::Probe => "probe",
            },
        )?;
        out.serialize_field("version", &self.version.map(|version| version.name()))?;
        out.serialize_field("kind", &self.kind.map(|kind| kind.name()))?;
        out.serialize_field("hello_retry", &self.hello_retry)?;
        out.serialize_field("cipher", &self.cipher)?;
        out.serialize_field("group", &self.group)?;
        out.serialize_field("server_name", &self.server_name.as_deref())?;
        out.serialize_field("alpn", &self.alpn)?;
        out.serialize_field("certificate_type", &self.certificate_type)?;
        out.serialize_field("resumption", self.resumption.name())?;
        out.serialize_field("session_age_us", &self.session_age.map(micros))?;
        out.serialize_field("false_start", self.false_start.name())?;
        out.serialize_field("false_start_reason", &self.false_start.reason())?;
        out.serialize_field("false_start_confidence", &self.false_start.confidence())?;
        out.serialize_field("ja4", &self.ja4)?;
        out.serialize_field("rtt_us", &self.network.rtt.map(micros))?;
        out.serialize_field("min_rtt_us", &self.network.min_rtt.map(micros))?;
        out.serialize_field("round_trips", &self.round_trips())?;
        out.serialize_field(
            "extra_round_trips",
            &ExtraRoundTrips(&self.extra_round_trips),
        )?;
        out.serialize_field("first_flights", &FirstFlights(&self.network))?;
        out.serialize_field("verdict", self.verdict().name())?;
        out.serialize_field("total_us", &micros(self.total))?;
        out.serialize_field("phases_us", &PhasesUs(&self.phases))?;
        out.serialize_field("waits", &Waits(self))?;
        out.serialize_field("parts_us", &PartsUs(&self.parts))?;
        out.serialize_field("messages", &self.messages)?;
        match &self.outcome {
            Outcome::Failed(failure) => out.serialize_field("failure", failure)?,
            Outcome::Ok | Outcome::Probe => out.serialize_field("failure", &None::<()>)?,
        }
        out.end()
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Failure", 8)?;
        out.serialize_field("class", self.class.name())?;
        out.serialize_field("phase", self.phase.name())?;
        out.serialize_field("side", self.side.name())?;
        out.serialize_field("alert", &self.alert)?;
        out.serialize_field("diagnosis", &self.diagnosis)?;
        out.serialize_field("would_succeed_with", &self.remedy.text())?;
        out.serialize_field("remedy", self.remedy.name())?;
        out.serialize_field("details", &*self.details)?;
        out.end()
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Message", 4)?;
        out.serialize_field("direction", self.direction.name())?;
        out.serialize_field("name", self.name)?;
        out.serialize_field("bytes", &self.bytes)?;
        out.serialize_field("at_us", &micros(self.at))?;
        out.end()
    }
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Wait", 5)?;
        out.serialize_field("phase", self.phase.name())?;
        out.serialize_field("total_us", &micros(self.total))?;
        out.serialize_field("network_us", &self.network.map(micros))?;
        let client = self
            .network
            .map(|network| micros(self.total.saturating_sub(network)));
        out.serialize_field("client_us", &client)?;
        out.serialize_field("uncertainty_us", &self.uncertainty.map(micros))?;
        out.end()
    }
}

struct Waits<'a>(&'a HandshakeReport);

impl Serialize for Waits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.waits())
    }
}

struct ExtraRoundTrips<'a>(&'a [ExtraRoundTrip]);

impl Serialize for ExtraRoundTrips<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|reason| reason.name()))
    }
}

struct FirstFlights<'a>(&'a Network);

impl Serialize for FirstFlights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        for (side, bytes) in [
            ("client", self.0.client_flight),
            ("server", self.0.server_flight),
        ] {
            map.serialize_entry(side, &Flight(bytes, self.0.segments(bytes)))?;
        }
        map.end()
    }
}

struct Flight(u32, Option<u32>);

impl Serialize for Flight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Flight", 2)?;
        out.serialize_field("bytes", &self.0)?;
        out.serialize_field("segments", &self.1)?;
        out.end()
    }
}

struct PhasesUs<'a>(&'a Phases);

impl Serialize for PhasesUs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (phase, nanos) in self.0.iter() {
            map.serialize_entry(phase.name(), &micros(Duration::from_nanos(nanos)))?;
        }
        map.end()
    }
}

struct PartsUs<'a>(&'a Parts);

impl Serialize for PartsUs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (part, nanos) in self.0.iter() {
            map.serialize_entry(part.name(), &micros(Duration::from_nanos(nanos)))?;
        }
        map.end()
    }
}

/// Microseconds with the nanoseconds as three decimals: exact in a double up to 104 days.
pub(crate) fn micros(time: Duration) -> f64 {
    let nanos = u32::try_from(time.as_nanos() % 1000).unwrap_or(0);
    // Division by 1000 rounds to the nearest double, which prints as the three decimals.
    #[allow(clippy::cast_precision_loss, reason = "below 2^53 for any handshake")]
    let whole = time.as_micros() as f64;
    (whole * 1000.0 + f64::from(nanos)) / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::report::{
        ConnectionId, Direction, FailureClass, FalseStart, Part, Peer, Phase, ProtocolVersion,
        Remedy, Resumption, ServerNameLabel, Side,
    };

    #[test]
    fn microseconds_keep_nanoseconds() {
        for (nanos, text) in [
            (0, "0.0"),
            (1, "0.001"),
            (1_234_567, "1234.567"),
            (10_000_000_019, "10000000.019"),
        ] {
            let json = serde_json::to_string(&micros(Duration::from_nanos(nanos))).unwrap();
            assert_eq!(json, text);
        }
    }

    #[test]
    fn a_report_has_every_field_in_order() {
        let mut phases = Phases::default();
        phases.add(Phase::Select, Duration::from_nanos(1_001));
        phases.add(Phase::ClientFlightWait, Duration::from_nanos(1_499));
        let mut parts = Parts::default();
        parts.add(Part::Sign, Duration::from_nanos(999));
        let report = HandshakeReport {
            id: ConnectionId(255),
            time: UNIX_EPOCH + Duration::from_secs(1_795_407_045),
            listener: "https".into(),
            peer: Peer::Unix,
            proxy: Some(Peer::Tcp(([192, 0, 2, 9], 80).into())),
            outcome: Outcome::Failed(Failure {
                class: FailureClass::Timeout,
                phase: Phase::ClientFlightWait,
                side: Side::Server,
                alert: None,
                diagnosis: "said \"nothing\"\n".into(),
                details: Box::default(),
                remedy: Remedy::Proven("[tls.web]\n".into()),
            }),
            version: Some(ProtocolVersion::Tls12),
            kind: None,
            hello_retry: true,
            cipher: None,
            group: Some("X25519"),
            server_name: Some("example.com".into()),
            server_name_label: ServerNameLabel::Other,
            alpn: None,
            certificate_type: None,
            resumption: Resumption::UnknownKey,
            session_age: None,
            false_start: FalseStart::NotApplicable,
            ja4: None,
            network: Network {
                rtt: Some(Duration::from_micros(1500)),
                min_rtt: Some(Duration::from_nanos(500)),
                segment_size: Some(100),
                client_flight: 517,
                server_flight: 0,
            },
            extra_round_trips: vec![ExtraRoundTrip::Retry],
            total: Duration::from_nanos(2_500),
            phases,
            parts,
            messages: vec![Message {
                direction: Direction::In,
                name: "ClientHello",
                bytes: 512,
                at: Duration::from_nanos(1_250),
            }],
        };
        let zero: String = Phase::ALL
            .iter()
            .map(|phase| {
                let micros = match phase {
                    Phase::Select => "1.001",
                    Phase::ClientFlightWait => "1.499",
                    _ => "0.0",
                };
                format!("\"{}\":{micros},", phase.name())
            })
            .collect();
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            [
                r#"{"id":"00000000000000ff","time":"2026-11-23T04:10:45Z","listener":"https","#,
                r#""peer":"unix","proxy":"192.0.2.9:80","outcome":"failed","version":"1.2","kind":null,"hello_retry":true,"#,
                r#""cipher":null,"group":"X25519","server_name":"example.com","alpn":null,"certificate_type":null,"#,
                r#""resumption":"unknown_key","session_age_us":null,"#,
                r#""false_start":"not_applicable","false_start_reason":null,"false_start_confidence":null,"ja4":null,"#,
                r#""rtt_us":1500.0,"min_rtt_us":0.5,"round_trips":2,"extra_round_trips":["retry"],"#,
                r#""first_flights":{"client":{"bytes":517,"segments":6},"#,
                r#""server":{"bytes":0,"segments":0}},"verdict":"ours","#,
                r#""total_us":2.5,"phases_us":{"#,
                zero.trim_end_matches(','),
                r#"},"waits":[{"phase":"client_flight_wait","total_us":1.499,"network_us":0.5,"#,
                r#""client_us":0.999,"uncertainty_us":0.999}],"parts_us":{"key_exchange":0.0,"sign":0.999,"ticket":0.0,"verify":0.0,"#,
                r#""other":0.0},"messages":[{"direction":"in","name":"ClientHello","bytes":512,"#,
                r#""at_us":1.25}],"failure":{"class":"timeout","phase":"client_flight_wait","#,
                r#""side":"server","alert":null,"diagnosis":"said \"nothing\"\n","#,
                r#""would_succeed_with":"[tls.web]\n","remedy":"proven","#,
                r#""details":{"undetermined":false}}}"#,
            ]
            .concat()
        );
    }
}
