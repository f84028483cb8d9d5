//! `/metrics`, for scrapers.

use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::respond::{self, Reply};
use crate::telemetry::{Format, Metrics};

/// All metrics, in the format that the scraper likes best.
pub(super) fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Reply {
    let format = preferred(headers);
    let body = metrics.render(format).into();
    let mut reply = respond::with_type(StatusCode::OK, format.content_type(), body);
    let headers = reply.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept"));
    reply
}

/// OpenMetrics where it is asked for with at least the weight of plain text (RFC 9110 section
/// 12.5.1). A scraper that knows neither gets plain text: it has to show something.
fn preferred(headers: &HeaderMap) -> Format {
    let mut openmetrics = 0;
    let mut plain = 0;
    let fields = headers.get_all(ACCEPT).iter();
    let ranges = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut weight = 1000;
        let mut version = None;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => weight = thousandths(value.trim()),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        match (media_type.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => {
                openmetrics = openmetrics.max(weight);
            }
            ("text/plain", None | Some("0.0.4")) => plain = plain.max(weight),
            _ => {}
        }
    }
    match openmetrics > 0 && openmetrics >= plain {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

/// A weight from 0 to 1 with three decimals at most; what is none counts as 0.
fn thousandths(weight: &str) -> u32 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits && decimals.len() <= 3) {
        ("1", true) if decimals.bytes().all(|byte| byte == b'0') => 1000,
        ("0", true) => format!("{decimals:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_chooses() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, format) in [
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=1.000",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=0.0.1",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=2", Format::Prometheus),
            (
                "application/openmetrics-text;q=0.5,text/plain;q=0.51",
                Format::Prometheus,
            ),
            ("text/html,*/*", Format::Prometheus),
            ("", Format::Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(preferred(&headers), format, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Format::Prometheus);
    }
}
