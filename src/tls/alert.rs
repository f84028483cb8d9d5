//! TLS alerts (RFC 8446 section 6): codes, names and the bytes of one in clear.

/// `unexpected_message`
pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
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

/// The name of an alert in the registry.
#[must_use]
pub(super) const fn name(code: u8) -> &'static str {
    match code {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "unknown alert",
    }
}
