//! The families of listeners: how their connections and handshakes are written out.

use std::sync::atomic::Ordering;

use super::accept_fault::AcceptFault;
use super::exposition::{Exposition, Kind, Seconds};
use super::histogram::{HANDSHAKE, Histogram};
use super::listener_counters::{
    AVOIDABLE, CONNECTIONS, FALSE_START, FIRST_REQUEST_WAIT, HELLO_RETRY, HTTP2_ABUSE, IN_FLIGHT,
    PROBES, STARTED, TUNNELS, UNDETERMINED, duration, duration_index, part, phase, resumption,
};
use super::listener_metrics::ListenerMetrics;
use crate::report::{
    ExtraRoundTrip, FalseStart, HandshakeKind, Http2Limit, Part, Phase, ProtocolVersion, Resumption,
};

/// Writes the families of all listeners.
pub(super) fn write(out: &mut Exposition, listeners: &[(&str, &ListenerMetrics)]) {
    write_connections(out, listeners);
    write_outcomes(out, listeners);
    write_times(out, listeners);
}

fn write_connections(out: &mut Exposition, listeners: &[(&str, &ListenerMetrics)]) {
    let mut gauge = |base, help, counter| {
        out.family(base, Kind::Gauge, help, |family| {
            for (name, listener) in listeners {
                family.sample(&[("listener", name)], listener.counters.gauge(counter));
            }
        });
    };
    gauge(
        "connections_open",
        "Client connections that are open.",
        CONNECTIONS,
    );
    gauge(
        "tunnels_open",
        "Requests that have become tunnels (WebSocket and other upgrades) and are open.",
        TUNNELS,
    );
    gauge(
        "tls_handshakes_in_flight",
        "TLS handshakes that are running.",
        IN_FLIGHT,
    );
    let mut counter = |base, help, counter| {
        out.family(base, Kind::Counter, help, |family| {
            for (name, listener) in listeners {
                family.sample(&[("listener", name)], listener.counters.sum(counter));
            }
        });
    };
    counter(
        "tls_handshakes_started",
        "TLS handshakes begun, probes included.",
        STARTED,
    );
    counter(
        "tls_probe_connections",
        "Connections that ended without having sent a byte: health checks and port scans.",
        PROBES,
    );
    counter(
        "tls_hello_retry",
        "Handshakes in which a HelloRetryRequest cost a round trip.",
        HELLO_RETRY,
    );
    counter(
        "tls_handshake_undetermined",
        "Failed handshakes of which the wire does not tell why.",
        UNDETERMINED,
    );
    out.family(
        "accept_errors",
        Kind::Counter,
        "Failed accept calls by class of error.",
        |family| {
            for (name, listener) in listeners {
                for (fault, count) in AcceptFault::ALL.into_iter().zip(&listener.accept_errors) {
                    let labels = [("listener", *name), ("class", fault.name())];
                    family.sample(&labels, count.load(Ordering::Relaxed));
                }
            }
        },
    );
    out.family(
        "http2_abuse",
        Kind::Counter,
        "HTTP/2 connections that were ended for going past a limit.",
        |family| {
            for (name, listener) in listeners {
                for limit in Http2Limit::ALL {
                    let labels = [("listener", *name), ("limit", limit.name())];
                    let count = listener.counters.sum(HTTP2_ABUSE + limit as usize);
                    family.sample(&labels, count);
                }
            }
        },
    );
}

fn write_outcomes(out: &mut Exposition, listeners: &[(&str, &ListenerMetrics)]) {
    out.family(
        "tls_handshakes",
        Kind::Counter,
        "Complete TLS handshakes.",
        |family| {
            for (listener, metrics) in listeners {
                for (name, counts) in metrics.server_names.sorted(|name| name.as_str().to_owned()) {
                    counts.write_complete(family, listener, &name);
                }
            }
        },
    );
    out.family(
        "tls_handshake_failures",
        Kind::Counter,
        "Failed TLS handshakes by reason and by who ended them.",
        |family| {
            for (listener, metrics) in listeners {
                for (name, counts) in metrics.server_names.sorted(|name| name.as_str().to_owned()) {
                    counts.write_failed(family, listener, &name);
                }
            }
        },
    );
    out.family(
        "tls_resumption",
        Kind::Counter,
        "Complete handshakes by what became of the offer to resume.",
        |family| {
            for (listener, metrics) in listeners {
                for version in ProtocolVersion::ALL {
                    for result in Resumption::ALL {
                        let labels = [
                            ("listener", *listener),
                            ("version", version.name()),
                            ("result", result.name()),
                        ];
                        family.sample(&labels, metrics.counters.sum(resumption(version, result)));
                    }
                }
            }
        },
    );
    out.family(
        "tls_false_start",
        Kind::Counter,
        "Complete handshakes by what became of False Start.",
        |family| {
            for (listener, metrics) in listeners {
                for (index, result) in FalseStart::NAMES.into_iter().enumerate() {
                    let labels = [("listener", *listener), ("result", result)];
                    family.sample(&labels, metrics.counters.sum(FALSE_START + index));
                }
            }
        },
    );
    out.family(
        "tls_negotiated",
        Kind::Counter,
        "Complete handshakes by cipher suite and group.",
        |family| {
            for (listener, metrics) in listeners {
                for (key, count) in metrics.negotiated.sorted(|&key| key) {
                    let (version, cipher, group) = key;
                    let labels = [
                        ("listener", *listener),
                        ("version", version.name()),
                        ("cipher", cipher),
                        ("group", group),
                    ];
                    family.sample(&labels, count.sum(0));
                }
            }
        },
    );
}

fn write_times(out: &mut Exposition, listeners: &[(&str, &ListenerMetrics)]) {
    out.family(
        "tls_avoidable_wait_seconds",
        Kind::Counter,
        "What round trips beyond the first cost complete handshakes, by their cause.",
        |family| {
            for (listener, metrics) in listeners {
                for cause in ExtraRoundTrip::ALL {
                    let labels = [("listener", *listener), ("cause", cause.name())];
                    let nanos = metrics.counters.sum(AVOIDABLE + cause as usize);
                    family.sample(&labels, Seconds(nanos));
                }
            }
        },
    );
    out.family(
        "tls_handshake_duration_seconds",
        Kind::Histogram,
        "From accept to handshake complete.",
        |family| {
            for (listener, metrics) in listeners {
                for version in ProtocolVersion::ALL {
                    for kind in HandshakeKind::ALL {
                        let labels = [
                            ("listener", *listener),
                            ("version", version.name()),
                            ("kind", kind.name()),
                        ];
                        let reading = duration(version, kind).read(&metrics.counters);
                        let exemplars = match metrics.settings.exemplars() {
                            true => metrics.exemplars[duration_index(version, kind)].read(),
                            false => Vec::new(),
                        };
                        family.histogram_with(&labels, &HANDSHAKE, &reading, &exemplars);
                    }
                }
            }
        },
    );
    out.family(
        "tls_handshake_phase_seconds",
        Kind::Histogram,
        "Time of complete handshakes by phase; handshakes without the phase do not count.",
        |family| {
            for (listener, metrics) in listeners {
                let mut write = |histogram: Histogram, kind, which: Phase| {
                    let reading = histogram.read(&metrics.counters);
                    if reading.count() > 0 {
                        let labels = [
                            ("listener", *listener),
                            ("kind", kind),
                            ("phase", which.name()),
                        ];
                        family.histogram(&labels, &HANDSHAKE, &reading);
                    }
                };
                for kind in HandshakeKind::ALL {
                    for which in Phase::ALL.into_iter().chain([Phase::FirstRequestWait]) {
                        write(phase(kind, which), kind.name(), which);
                    }
                }
                write(FIRST_REQUEST_WAIT, "unknown", Phase::FirstRequestWait);
            }
        },
    );
    out.family(
        "tls_handshake_part_seconds",
        Kind::Histogram,
        "CPU time of complete handshakes by what was computed.",
        |family| {
            for (listener, metrics) in listeners {
                for which in Part::ALL {
                    let reading = part(which).read(&metrics.counters);
                    let labels = [("listener", *listener), ("part", which.name())];
                    family.histogram(&labels, &HANDSHAKE, &reading);
                }
            }
        },
    );
}
