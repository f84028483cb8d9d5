//! `handfast what-if`: asks the daemon which clients a change of policies would turn away.

use std::fmt::Write as _;

use clap::{ArgGroup, Args};

use super::ask_reload::written;
use super::cli::{complain, say};
use super::exit::Exit;
use super::reloader::chain;
use super::socket_client::{ClientError, SocketArgs, SocketClient};
use crate::admin::{Forecast, ForecastRefusal};
use crate::config::{PolicyChange, PolicyChangeText};

/// The change.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct WhatIfArgs {
    /// Without TLS versions below this one: 1.2 or 1.3. Suites that only they use go as well.
    #[arg(long, value_name = "VERSION", group = "change")]
    min_version: Option<String>,
    /// With these cipher suites alone, separated by commas or colons; IANA's or OpenSSL's names.
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "change")]
    cipher_suites: Option<Vec<String>>,
    /// With these key exchange groups alone, separated by commas or colons.
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "change")]
    groups: Option<Vec<String>>,
    /// With these protocols in ALPN alone, separated by commas; an empty text for no ALPN.
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "change")]
    alpn: Option<Vec<String>>,
    /// Change the policy [tls.NAME] alone [default: every policy]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Print the answer of the API as it is.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn ask_what_if(socket: &SocketArgs, args: &WhatIfArgs) -> Exit {
    let change = PolicyChangeText {
        policy: args.policy.clone(),
        min_version: args.min_version.clone(),
        cipher_suites: args.cipher_suites.as_deref().map(split),
        groups: args.groups.as_deref().map(split),
        alpn: args.alpn.as_deref().map(protocols),
    };
    if let Err(diagnostics) = PolicyChange::read(&change) {
        complain(diagnostics.to_string().trim_end());
        return Exit::Usage;
    }
    ask(socket, &change, args.json).unwrap_or_else(|error| {
        complain(&format!("handfast what-if: {}", chain(&error)));
        Exit::Failure
    })
}

/// An empty text is an empty list: no ALPN.
fn protocols(list: &[String]) -> Vec<String> {
    let items = list.iter().map(|item| item.trim().to_owned());
    match list {
        [only] if only.trim().is_empty() => Vec::new(),
        _ => items.collect(),
    }
}

/// OpenSSL's lists have colons.
fn split(list: &[String]) -> Vec<String> {
    let items = list.iter().flat_map(|item| item.split(':'));
    items.map(|item| item.trim().to_owned()).collect()
}

fn ask(socket: &SocketArgs, change: &PolicyChangeText, json: bool) -> Result<Exit, ClientError> {
    let client = SocketClient::find(socket)?;
    let body = serde_json::to_vec(change).map_err(|_| client.nonsense())?;
    let answer = client.ask("POST", "/api/what-if", &body)?;
    match answer.status {
        200 if json => {
            say(answer.body.trim_end());
            Ok(Exit::Ok)
        }
        200 => {
            let forecast: Forecast =
                serde_json::from_str(&answer.body).map_err(|_| client.nonsense())?;
            say(text(&forecast).trim_end());
            Ok(Exit::Ok)
        }
        422 => {
            let refusal: ForecastRefusal =
                serde_json::from_str(&answer.body).map_err(|_| client.nonsense())?;
            for item in &refusal.diagnostics {
                complain(&written(item));
            }
            complain(&format!("handfast what-if: {}", refusal.error));
            Ok(Exit::Usage)
        }
        _ => {
            complain(&format!("handfast what-if: {}", answer.problem()));
            Ok(Exit::Failure)
        }
    }
}

/// The forecast for people.
fn text(forecast: &Forecast) -> String {
    let mut out = String::new();
    let all = forecast.handshakes;
    // Writing to a string does not fail.
    if all == 0 {
        let _ = writeln!(
            out,
            "No client has come yet that could be asked: nothing is known of this change."
        );
        return out;
    }
    let _ = writeln!(
        out,
        "{all} handshakes by {} kinds of clients are known.",
        forecast.kinds
    );
    if forecast.forgotten > 0 {
        let _ = writeln!(
            out,
            "{} more came from kinds that are not kept any more: nothing is known of them.",
            forecast.forgotten
        );
    }
    let _ = writeln!(
        out,
        "{} ({}) get through now and would fail; {} fail now, too.",
        forecast.would_fail,
        share(forecast.would_fail, all),
        forecast.fail_already
    );
    if forecast.failures.is_empty() {
        return out;
    }
    let _ = writeln!(
        out,
        "\n{:>10}  {:>7}  {:<20} {:<20} ja4",
        "handshakes", "share", "server name", "class"
    );
    for failure in &forecast.failures {
        let _ = writeln!(
            out,
            "{:>10}  {:>7}  {:<20} {:<20} {}{}",
            failure.handshakes,
            share(failure.handshakes, all),
            failure.server_name,
            failure.class,
            failure.ja4,
            if failure.already { " (fails now)" } else { "" }
        );
    }
    out
}

/// Hundredths of a percent, rounded up: what is there is never 0.00 %.
fn share(part: u64, all: u64) -> String {
    let hundredths = (u128::from(part) * 10_000).div_ceil(u128::from(all.max(1)));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_nothing() {
        let shares = [(0, 7), (1, 1_000_000), (1, 3), (3, 3)].map(|(a, b)| share(a, b));
        assert_eq!(shares, ["0.00 %", "0.01 %", "33.34 %", "100.00 %"]);
    }
}
