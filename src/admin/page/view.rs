//! What one look at the page is of.

use super::super::api;
use super::super::query;
use super::super::state::AdminState;
use crate::telemetry::{RingQuery, Window};

/// What one look at the page is of.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) state: &'a AdminState,
    /// What most figures are of; `None` before the first second.
    pub(super) window: Option<Window>,
    /// Its span in seconds: 10, 60 or 900.
    pub(super) span: u64,
    /// The last quarter of an hour.
    pub(super) series: Vec<Window>,
    /// The fields of the filter as they were given.
    pub(super) filter: Filter,
    /// Which handshakes are asked for, or what is wrong with the filter.
    pub(super) wanted: Result<RingQuery, String>,
}

/// The filter of the handshakes as it was given: from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) server_name: String,
    pub(super) class: String,
    pub(super) kind: String,
    pub(super) ja4: String,
}

/// The window while none is asked for.
const DEFAULT_SPAN: u64 = 900;

impl<'a> View<'a> {
    pub(super) fn new(state: &'a AdminState, query: &str) -> Self {
        let mut span = DEFAULT_SPAN;
        let mut filter = Filter::default();
        let wanted = query::parse(query).and_then(|mut fields| {
            // A form sends its empty fields too.
            fields.retain(|(name, value)| {
                if name == "window" {
                    span = value.parse().unwrap_or(DEFAULT_SPAN);
                }
                name != "window" && !value.is_empty()
            });
            for (name, value) in &fields {
                let field = match name.as_str() {
                    "server_name" => &mut filter.server_name,
                    "class" => &mut filter.class,
                    "kind" => &mut filter.kind,
                    "ja4" => &mut filter.ja4,
                    _ => continue,
                };
                field.clone_from(value);
            }
            api::ring_query(fields)
        });
        let windows = state.telemetry.windows();
        if !windows.iter().any(|it| it.span.as_secs() == span) {
            span = DEFAULT_SPAN;
        }
        let window = windows.into_iter().find(|it| it.span.as_secs() == span);
        Self {
            state,
            window,
            span,
            series: state.telemetry.series(),
            filter,
            wanted: wanted.map_err(|error| error.to_string()),
        }
    }

    /// The window in words.
    pub(super) const fn span_text(&self) -> &'static str {
        span_text(self.span)
    }

    /// The shortest window, for rates.
    pub(super) fn last_moment(&self) -> Option<Window> {
        let windows = self.state.telemetry.windows();
        windows.into_iter().min_by_key(|it| it.span)
    }
}

/// A window in words.
pub(super) const fn span_text(seconds: u64) -> &'static str {
    match seconds {
        10 => "10 s",
        60 => "1 min",
        _ => "15 min",
    }
}
