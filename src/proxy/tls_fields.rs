//! What upstreams are told about the TLS connection of a request: `forwarding.tls_headers`.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::base64::base64;
use super::connection_info::ConnectionInfo;
use crate::config::TlsHeader;
use crate::tls::ClientIdentity;

/// The fields of one connection, made once. A fact that does not exist has no field: a request
/// never carries an empty one.
#[derive(Debug)]
pub(super) struct TlsFields(Vec<(TlsHeader, HeaderValue)>);

impl TlsFields {
    /// The fields of `connection`; none where it is plain.
    pub(super) fn new(connection: &ConnectionInfo) -> Self {
        let mut fields = Self(Vec::new());
        let Some(tls) = &connection.tls else {
            return fields;
        };
        fields.add(TlsHeader::Version, tls.version.map(|it| it.name()));
        fields.add(TlsHeader::Cipher, tls.cipher);
        fields.add(TlsHeader::Group, tls.group);
        fields.add(TlsHeader::ServerName, connection.server_name.as_deref());
        fields.add(TlsHeader::Kind, tls.kind.map(|it| it.name()));
        let Some(certificate) = &tls.client_certificate else {
            fields.add(TlsHeader::Verify, Some("none"));
            return fields;
        };
        fields.add(TlsHeader::Verify, Some("success"));
        fields.add(TlsHeader::ClientCert, Some(&byte_sequence(certificate)));
        // The handshake has refused what cannot be read.
        if let Ok(identity) = ClientIdentity::read(certificate) {
            fields.add(TlsHeader::Subject, Some(&identity.subject));
            fields.add(TlsHeader::San, Some(&identity.san));
        }
        fields
    }

    fn add(&mut self, header: TlsHeader, text: Option<&str>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        // Visible ASCII and spaces alone: everything made here is that.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            && let Ok(value) = HeaderValue::from_str(text)
        {
            self.0.push((header, value));
        }
    }

    /// Puts the fields that `wanted` names into a request, from which those of the client have
    /// been removed.
    pub(super) fn put(&self, wanted: &[TlsHeader], headers: &mut HeaderMap) {
        for (header, value) in &self.0 {
            if wanted.contains(header) {
                headers.insert(name(*header), value.clone());
            }
        }
    }
}

const fn name(header: TlsHeader) -> HeaderName {
    HeaderName::from_static(match header {
        TlsHeader::Version => "x-tls-version",
        TlsHeader::Cipher => "x-tls-cipher",
        TlsHeader::Group => "x-tls-group",
        TlsHeader::ServerName => "x-tls-server-name",
        TlsHeader::Kind => "x-tls-kind",
        TlsHeader::Verify => "x-tls-client-verify",
        TlsHeader::Subject => "x-tls-client-subject",
        TlsHeader::San => "x-tls-client-san",
        TlsHeader::ClientCert => "client-cert",
    })
}

/// A Byte Sequence of structured fields (RFC 9651 section 3.3.5): base64 between colons.
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", base64(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sequences_are_padded() {
        // RFC 4648 section 10.
        for (bytes, text) in [
            ("", "::"),
            ("f", ":Zg==:"),
            ("fo", ":Zm8=:"),
            ("foo", ":Zm9v:"),
            ("foob", ":Zm9vYg==:"),
            ("foobar", ":Zm9vYmFy:"),
        ] {
            assert_eq!(byte_sequence(bytes.as_bytes()), text);
        }
        assert_eq!(byte_sequence(&[0xfb, 0xff, 0xfe]), ":+//+:");
    }
}
