//! `handfast probe`: a handshake with any server, step by step.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::runtime;
use crate::config;
use crate::probe::{ProbeError, ProbeSettings, Prober, Report, Target, render};
use crate::report::ProtocolVersion;

/// Whom to probe, and how.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The server: a name or an address, an IPv6 address in brackets where a port follows; the
    /// port is 443 by default.
    #[arg(value_name = "HOST[:PORT]")]
    target: Target,
    /// Offer TLS 1.2 alone.
    #[arg(long = "tls1.2", conflicts_with = "tls13")]
    tls12: bool,
    /// Offer TLS 1.3 alone.
    #[arg(long = "tls1.3")]
    tls13: bool,
    /// The name to ask for, and to find in the certificate [default: HOST]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Trust these certificates (PEM) instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Go on with a server that is not trusted; what is wrong is told all the same.
    #[arg(long)]
    insecure: bool,
    /// Connect a second time with the session of the first, and show both.
    #[arg(long)]
    resume: bool,
    /// The protocols to offer with ALPN, separated by commas; empty for none.
    #[arg(long, value_name = "LIST", default_value = "h2,http/1.1", value_parser = protocols)]
    alpn: Protocols,
    /// For each connection.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = limit)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Names of ALPN.
#[derive(Clone, Debug)]
struct Protocols(Vec<String>);

/// Runs the command.
pub(super) fn probe(args: &ProbeArgs) -> Exit {
    let versions = match (args.tls12, args.tls13) {
        (true, _) => vec![ProtocolVersion::Tls12],
        (_, true) => vec![ProtocolVersion::Tls13],
        _ => vec![ProtocolVersion::Tls13, ProtocolVersion::Tls12],
    };
    let settings = ProbeSettings {
        target: args.target.clone(),
        versions,
        server_name: args.server_name.clone(),
        ca: args.ca.clone(),
        insecure: args.insecure,
        alpn: args.alpn.0.clone(),
        timeout: args.timeout,
    };
    let prober = match Prober::new(&settings) {
        Ok(prober) => prober,
        Err(error) => {
            complain(&format!("handfast probe: {}", chain(&error)));
            return match error {
                ProbeError::Name { .. } => Exit::Usage,
                _ => Exit::Failure,
            };
        }
    };
    // The first random bytes of a process take 50 ms, which are not the server's.
    if crate::tls::warm_up().is_err() {
        complain("handfast probe: the system has no randomness to give");
        return Exit::Failure;
    }
    let runtime = match runtime::build(1) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("handfast probe: cannot start: {error}"));
            return Exit::Failure;
        }
    };
    let report = runtime.block_on(report(&prober, args));
    if args.json {
        say(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        say(render(&report, std::io::stdout().is_terminal()).trim_end());
    }
    match report.ok {
        true => Exit::Ok,
        false => Exit::Failure,
    }
}

async fn report(prober: &Prober, args: &ProbeArgs) -> Report {
    let mut connections = vec![prober.attempt().await];
    let mut ok = connections.iter().all(|it| it.failure.is_none());
    if args.resume && ok {
        let second = prober.attempt().await;
        ok = second.failure.is_none() && second.negotiated.kind == Some("resumed");
        connections.push(second);
    }
    Report {
        target: args.target.to_string(),
        server_name: prober.server_name(),
        ok,
        connections,
    }
}

fn protocols(text: &str) -> Result<Protocols, String> {
    let names: Vec<_> = text.split(',').map(str::trim).map(str::to_owned).collect();
    if text.trim().is_empty() {
        return Ok(Protocols(Vec::new()));
    }
    // RFC 7301 section 3.1
    match names.iter().all(|name| (1..=255).contains(&name.len())) {
        true => Ok(Protocols(names)),
        false => Err("the name of a protocol has 1 to 255 bytes".to_owned()),
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = config::read_duration(text).map_err(|refused| refused.message)?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
    match bounds.contains(&limit) {
        true => Ok(limit),
        false => Err("it is between 1ms and 1h".to_owned()),
    }
}
