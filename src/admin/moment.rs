//! Moments as the API writes them: RFC 3339 in UTC, to the second.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2027-01-01T00:00:00Z`; empty past the year 9999.
pub(super) fn text(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time).truncate_to_second();
    time.format(&Rfc3339).unwrap_or_default()
}
