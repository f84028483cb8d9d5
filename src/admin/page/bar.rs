//! A handshake as a bar: each phase as wide as its share, coloured by whose time it was.

use std::time::Duration;

use super::figures::{percent, time};
use super::html::Html;
use crate::report::{Phase, PhaseKind};

/// Every kind, in the order of the legend.
const KINDS: [PhaseKind; 4] = [
    PhaseKind::Client,
    PhaseKind::Queue,
    PhaseKind::Cpu,
    PhaseKind::Io,
];

/// A bar of these phases, in order; nothing where they took no time.
pub(super) fn write(out: &mut Html, phases: &[(Phase, Duration)]) {
    let total: Duration = phases.iter().map(|(_, time)| *time).sum();
    if total.is_zero() {
        return;
    }
    out.raw("<svg class=\"bar\" role=\"img\" aria-label=\"")
        .text(time(total))
        .raw(":");
    for kind in KINDS {
        let share = share_of(phases, kind, total);
        if share > 0.0 {
            out.raw(" ").raw(kind.name()).raw(" ");
            out.text(percent(Some(share)));
        }
    }
    out.raw("\">");
    let mut left = 0.0;
    for (phase, taken) in phases.iter().filter(|(_, taken)| !taken.is_zero()) {
        let share = taken.as_secs_f64() / total.as_secs_f64();
        out.raw("<rect class=\"").raw(phase.kind().name());
        out.raw("\" x=\"").text(format_args!("{:.2}", left * 100.0));
        out.raw("%\" width=\"")
            .text(format_args!("{:.2}", share * 100.0))
            .raw("%\" height=\"100%\"");
        if phase.kind() == PhaseKind::Client {
            out.raw(" fill=\"url(#waiting)\"");
        }
        out.raw("><title>")
            .raw(phase.name())
            .raw(": ")
            .text(time(*taken))
            .raw(", ")
            .text(percent(Some(share)))
            .raw(" (")
            .raw(kind_text(phase.kind()))
            .raw(")</title></rect>");
        left += share;
    }
    out.raw("</svg>");
}

/// What the colours mean.
pub(super) fn legend(out: &mut Html) {
    out.raw("<p class=\"legend\">");
    for kind in KINDS {
        out.raw("<span><svg class=\"key\" aria-hidden=\"true\" width=\"12\" height=\"12\"><rect class=\"")
            .raw(kind.name())
            .raw("\" width=\"12\" height=\"12\"");
        if kind == PhaseKind::Client {
            out.raw(" fill=\"url(#waiting)\"");
        }
        out.raw("/></svg>").raw(kind_text(kind)).raw("</span>");
    }
    out.raw("</p>");
}

pub(super) const fn kind_text(kind: PhaseKind) -> &'static str {
    match kind {
        PhaseKind::Client => "waiting for the client and the network",
        PhaseKind::Queue => "in a queue of ours",
        PhaseKind::Cpu => "computing",
        PhaseKind::Io => "writing",
    }
}

fn share_of(phases: &[(Phase, Duration)], kind: PhaseKind, total: Duration) -> f64 {
    let of_kind = phases.iter().filter(|(phase, _)| phase.kind() == kind);
    let sum: Duration = of_kind.map(|(_, time)| *time).sum();
    sum.as_secs_f64() / total.as_secs_f64()
}
