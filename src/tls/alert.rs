//! TLS alerts (RFC 8446 section 6): codes, names and the bytes of one in clear.

pub(super) use crate::report::alert_name as name;

/// `unexpected_message`
pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
/// `record_overflow`
pub(super) const RECORD_OVERFLOW: u8 = 22;
/// `handshake_failure`
pub(super) const HANDSHAKE_FAILURE: u8 = 40;
/// `decode_error`
pub(super) const DECODE_ERROR: u8 = 50;
/// `protocol_version`
pub(super) const PROTOCOL_VERSION: u8 = 70;
/// `internal_error`
pub(super) const INTERNAL_ERROR: u8 = 80;
/// `inappropriate_fallback`
pub(super) const INAPPROPRIATE_FALLBACK: u8 = 86;
/// `user_canceled`
pub(super) const USER_CANCELED: u8 = 90;
/// `unrecognized_name`
pub(super) const UNRECOGNIZED_NAME: u8 = 112;

/// `certificate_required`
pub(super) const CERTIFICATE_REQUIRED: u8 = 116;

/// A fatal alert before any key exists: a whole record.
pub(super) const fn fatal(code: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, code]
}

/// What a connection is closed with that is not served at all: `internal_error`.
pub const REFUSAL: [u8; 7] = fatal(INTERNAL_ERROR);
