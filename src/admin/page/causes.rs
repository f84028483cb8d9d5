//! Resumption by reason and waits that could be avoided by cause, each with what it means.

use super::figures::{noun, share, time};
use super::html::Html;
use super::view::View;
use crate::report::{ExtraRoundTrip, Resumption};
use crate::telemetry::Counts;

pub(super) fn write(out: &mut Html, view: &View<'_>) {
    let none = Counts::default();
    let counts = view.window.as_ref().map_or(&none, |it| &it.counts);
    out.raw("<div class=\"two\"><section id=\"resumption\" data-live><h2>Resumption <small>")
        .raw(view.span_text())
        .raw("</small></h2>");
    let mut results: Vec<_> = counts.resumptions().collect();
    results.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all: u64 = results.iter().map(|(_, count)| count).sum();
    let offered: u64 = results
        .iter()
        .filter(|(result, _)| *result != Resumption::NotOffered)
        .map(|(_, count)| count)
        .sum();
    nothing(out, results.is_empty(), "No handshakes.");
    out.raw("<ul class=\"causes\">");
    for (result, count) in results {
        let (of, whole) = match result {
            Resumption::Hit | Resumption::NotOffered => (all, "of handshakes"),
            _ => (offered, "of offers"),
        };
        row(out, result.name(), count, all, result == Resumption::Hit);
        out.text(share(count, of)).raw(" ").raw(whole).raw(" ");
        out.raw(resumption(result)).raw("</p></li>");
    }
    out.raw("</ul></section><section id=\"avoidable\" data-live><h2>Avoidable waits <small>")
        .raw(view.span_text())
        .raw("</small></h2>");
    let mut waits: Vec<_> = counts.avoidable().collect();
    waits.sort_by_key(|(_, _, cost)| std::cmp::Reverse(*cost));
    nothing(
        out,
        waits.is_empty(),
        "None: every handshake took one round trip.",
    );
    out.raw("<ul class=\"causes\">");
    for (cause, count, cost) in waits {
        row(out, cause.name(), count, counts.complete(), false);
        out.text(count)
            .raw(" ")
            .raw(noun(count, "handshake", "handshakes"))
            .raw(" waited ")
            .text(time(cost))
            .raw(" in all. ")
            .raw(avoidable(cause))
            .raw("</p></li>");
    }
    out.raw("</ul></section></div>");
}

fn nothing(out: &mut Html, empty: bool, text: &'static str) {
    if empty {
        out.raw("<p class=\"none\">").raw(text).raw("</p>");
    }
}

/// A name, its count, its share as a line, and the beginning of its sentence.
fn row(out: &mut Html, name: &'static str, count: u64, all: u64, good: bool) {
    out.raw("<li data-name=\"")
        .raw(name)
        .raw("\"><span class=\"name\">")
        .raw(name)
        .raw("</span><span class=\"n\">")
        .text(count)
        .raw("</span><svg class=\"meter\" aria-hidden=\"true\"><rect class=\"")
        .raw(if good { "good" } else { "plain" })
        .raw("\" height=\"100%\" width=\"")
        .text((count * 100).checked_div(all).unwrap_or(0))
        .raw("%\"/></svg><p>");
}

/// Goes on after "38 % of offers".
const fn resumption(result: Resumption) -> &'static str {
    match result {
        Resumption::Hit => "resumed a session: no certificate and no signature was needed.",
        Resumption::NotOffered => {
            "offered no session: new clients, or clients that keep none. Nothing to mend here."
        }
        Resumption::UnknownKey => {
            "were tickets sealed with an unknown key: do the replicas share keys, and does a key \
             outlive the tickets that it sealed?"
        }
        Resumption::Expired => {
            "were sessions past their lifetime: clients come back later than the policy's lifetime."
        }
        Resumption::Corrupt => {
            "were tickets that do not open with the key that they name: damaged, or made up."
        }
        Resumption::Scope => {
            "were sessions of another policy: do clients use one session for names with different \
             policies, or did a reload change the policy?"
        }
        Resumption::CacheMiss => {
            "were sessions that the store does not have: is it too small, or did another process \
             make them?"
        }
        Resumption::Rejected => {
            "were known, but did not fit: another cipher suite, another name, or no extended \
             master secret."
        }
    }
}

const fn avoidable(cause: ExtraRoundTrip) -> &'static str {
    match cause {
        ExtraRoundTrip::Retry => {
            "Their key share was of a group that the policy does not take: could it allow the \
             group that these clients guess first?"
        }
        ExtraRoundTrip::NoFalseStart => {
            "They spoke TLS 1.2 and sent no request before our Finished: TLS 1.3, or a client with \
             False Start, saves this round trip."
        }
        ExtraRoundTrip::CongestionWindow => {
            "Our flight was larger than the first congestion window: a shorter chain, an ECDSA \
             certificate or certificate compression makes it fit."
        }
        ExtraRoundTrip::SplitFlight => {
            "Their own flight came in parts, a round trip apart: large client certificates, or \
             clients that wait between their writes."
        }
    }
}
