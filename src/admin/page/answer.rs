//! The page and the walks as answers.

use http::StatusCode;

use super::super::respond::{self, Reply};
use super::super::state::AdminState;
use super::html::Html;
use super::view::View;
use super::{
    causes, certificates, failures, frame, handshakes, mix, reloads, server_names, strip,
    upstreams, waterfall,
};
use crate::report::ConnectionId;
use crate::telemetry::HandshakeRing;

const HTML: &str = "text/html; charset=utf-8";

/// The page. `query` has the window and the filter of the handshakes.
pub(in super::super) fn main(state: &AdminState, query: &str) -> Reply {
    let view = View::new(state, query);
    let mut out = Html::new();
    frame::begin(&mut out, "handfast");
    frame::header(&mut out, &view);
    out.raw("<main>");
    strip::write(&mut out, &view);
    waterfall::write(&mut out, &view);
    causes::write(&mut out, &view);
    mix::write(&mut out, &view);
    failures::write(&mut out, &view);
    handshakes::write(&mut out, &view);
    server_names::write(&mut out, &view);
    certificates::write(&mut out, &view);
    upstreams::write(&mut out, &view);
    reloads::write(&mut out, &view);
    out.raw("</main>");
    frame::end(&mut out);
    respond::of_page(HTML, out.into_bytes())
}

/// One handshake, message by message; 404 when it is not kept (any more).
pub(in super::super) fn walk(ring: &HandshakeRing, id: ConnectionId) -> Reply {
    let found = ring.find(id);
    let mut out = Html::new();
    frame::begin(&mut out, "handfast: a handshake");
    out.raw("<main><p><a href=\"/\">All handshakes</a></p>");
    match &found {
        Some(report) => super::walk::write(&mut out, report),
        None => {
            out.raw("<article><h2>This handshake is not kept any more</h2></article>");
        }
    }
    out.raw("</main>");
    frame::end(&mut out);
    let mut reply = respond::of_page(HTML, out.into_bytes());
    if found.is_none() {
        *reply.status_mut() = StatusCode::NOT_FOUND;
    }
    reply
}
