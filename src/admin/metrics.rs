//! `/metrics`, for scrapers.

use http::StatusCode;

use super::respond::{self, Reply};
use crate::telemetry::{Format, Metrics};

/// All metrics. There is one format so far, so what the scraper accepts does not matter yet.
pub(super) fn metrics(metrics: &Metrics) -> Reply {
    let format = Format::Prometheus;
    respond::with_type(
        StatusCode::OK,
        format.content_type(),
        metrics.render(format).into(),
    )
}
