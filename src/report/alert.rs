//! TLS alerts (RFC 8446 section 6) for people: the name, and what it usually means.

/// The name of an alert in the registry; `unknown alert` for others.
#[must_use]
pub const fn alert_name(code: u8) -> &'static str {
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

/// What whoever sends the alert says, as a sentence without its full stop.
#[must_use]
pub const fn alert_meaning(code: u8) -> &'static str {
    match code {
        0 => "it closes the connection in order",
        10 => "it did not expect this message here",
        20 => "a record does not decrypt: the two ends have different keys, or it was changed",
        22 => "a record is too long",
        40 => "it finds no set of parameters that both sides accept",
        42 => "it cannot read the certificate that it got, or its signature is wrong",
        43 => "it does not take certificates of this type",
        44 => "the certificate that it got is revoked",
        45 => "the certificate that it got has expired",
        46 => "it does not accept the certificate that it got",
        47 => "a field has a value that the protocol does not allow",
        48 => "it does not trust whoever issued the certificate that it got",
        49 => "the certificate is valid, but it does not let its owner in",
        50 => "it cannot decode a message",
        51 => "a signature or Finished does not verify",
        70 => "it does not speak any of the TLS versions that were offered",
        71 => "it wants stronger cipher suites than were offered",
        80 => "it has a fault of its own, or too much to do",
        86 => "it speaks a newer TLS version than this fallback offers",
        90 => "somebody cancelled the handshake",
        109 => "an extension that it needs is missing",
        110 => "an extension came that nobody asked for",
        112 => "it serves no such name",
        116 => "it wants a client certificate and got none",
        120 => "it speaks none of the protocols that were offered with ALPN",
        _ => "it ends the handshake",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_with_a_meaning_have_a_name() {
        for code in 0..=u8::MAX {
            if alert_meaning(code) != "it ends the handshake" {
                assert_ne!(alert_name(code), "unknown alert", "{code}");
            }
        }
    }
}
