//! `[[routes]]` after validation.

use std::sync::Arc;

use super::diagnostic::Location;
use super::field_edits::FieldEdits;
use super::fixed_response::FixedResponse;
use super::model::UpstreamId;
use super::redirect::Redirect;
use super::upstream::UpstreamTimeouts;
use crate::host::HostPattern;

/// `[[routes]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// What metrics and the access log call it: host and path as written, e.g. `example.com/api/`
    /// or `*/` for a route without a host.
    pub name: Arc<str>,
    /// `host`; `None` (the default): any.
    pub host: Option<HostPattern>,
    /// `path`, default `/`
    pub path: PathPattern,
    /// What the route does.
    pub action: RouteAction,
    /// What is changed of requests that it forwards; nothing where it forwards none.
    pub request: RequestRules,
    /// `response_headers`: on every response of the route, those of our own too.
    pub response_fields: FieldEdits,
    /// Where the table stands.
    pub location: Location,
}

/// `path` of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `"/api/"`: this prefix. A prefix without a final slash matches whole segments only:
    /// `/api` matches `/api` and `/api/x`, never `/apix`.
    Prefix(Arc<str>),
    /// `"=/exact"`: this path alone.
    Exact(Arc<str>),
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// `upstream`
    Upstream(UpstreamId),
    /// `redirect`
    Redirect(Redirect),
    /// `respond`
    Respond(FixedResponse),
}

/// What a route changes of the requests that it forwards.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RequestRules {
    /// `request_headers`
    pub fields: FieldEdits,
    /// `strip_prefix` and `replace_prefix`; `None` (the default): the path is forwarded as it is.
    pub path: Option<PrefixRewrite>,
    /// `timeouts`, with the upstream's for those that are not given; `None` (the default): the
    /// upstream's.
    pub timeouts: Option<UpstreamTimeouts>,
    /// `request_body`, default [`BodyLimit::Global`]
    pub body: BodyLimit,
}

/// What takes the place of a route's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRewrite {
    /// So many bytes at the start of the path go: the prefix without its final slash, or an exact
    /// path.
    pub cut: usize,
    /// This takes their place: a path; its final slash stands only where nothing follows.
    pub put: Arc<str>,
}

/// How large a request body may be. Past it: 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyLimit {
    /// As `limits.request_body` says.
    #[default]
    Global,
    /// `"unlimited"`
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

impl BodyLimit {
    /// The bytes that a body may have where `global` is `limits.request_body`; `None`: any number.
    #[must_use]
    pub const fn bytes(self, global: Option<u64>) -> Option<u64> {
        match self {
            Self::Global => global,
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}
