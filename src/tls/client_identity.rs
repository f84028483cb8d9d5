//! Who a client certificate says its holder is: the subject as RFC 4514 writes it, and the names
//! of subjectAltName.

use std::fmt::Write as _;
use std::net::IpAddr;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// What a certificate says of its holder, in visible ASCII throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject (RFC 4514), empty where there is none.
    pub subject: String,
    /// The names of subjectAltName, such as `DNS:a.example` and `URI:spiffe://a/b`, with commas
    /// between them; a comma inside one is `%2C`.
    pub san: String,
}

/// Why a certificate identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not X.509, or a subjectAltName that does not decode.
    #[error("not a certificate")]
    Malformed,
    /// NUL, CR, LF or another control character in a name.
    #[error("a control character in a name")]
    Control,
}

impl ClientIdentity {
    /// Reads a certificate, given as DER.
    ///
    /// # Errors
    /// See [`IdentityError`]. Certificates that a handshake accepted have none of that.
    pub fn read(certificate: &[u8]) -> Result<Self, IdentityError> {
        let identity = Identity::read(certificate)?;
        let mut san = String::new();
        for name in identity.names() {
            let separator = if san.is_empty() { "" } else { "," };
            let (kind, text) = match name {
                GeneralName::DNSName(name) => ("DNS", name.to_string()),
                GeneralName::URI(uri) => ("URI", uri.to_string()),
                GeneralName::RFC822Name(address) => ("email", address.to_string()),
                GeneralName::IPAddress(bytes) => match ip_of(bytes) {
                    Some(address) => ("IP", address.to_string()),
                    None => continue,
                },
                // The others have no form that upstreams would know.
                _ => continue,
            };
            let _ = write!(san, "{separator}{kind}:");
            for byte in text.bytes() {
                match byte {
                    b',' | b'"' | b'\\' => _ = write!(san, "%{byte:02X}"),
                    b'!'..=b'~' => san.push(byte.into()),
                    _ => _ = write!(san, "%{byte:02X}"),
                }
            }
        }
        Ok(Self {
            subject: rfc4514(identity.certificate.subject()),
            san,
        })
    }
}

/// A certificate whose names are free of control characters.
pub(super) struct Identity<'a> {
    certificate: X509Certificate<'a>,
}

impl<'a> Identity<'a> {
    /// Reads a certificate, given as DER.
    pub(super) fn read(certificate: &'a [u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Malformed)?;
        let identity = Self { certificate };
        for attribute in identity.certificate.subject().iter_attributes() {
            // UTF-16 and UTF-32 have zeroes of their own; they are shown in hexadecimal.
            let tag = attribute.attr_value().tag();
            if tag != Tag::BmpString
                && tag != Tag::UniversalString
                && attribute.as_slice().iter().any(u8::is_ascii_control)
            {
                return Err(IdentityError::Control);
            }
        }
        for name in identity.names() {
            match name {
                GeneralName::DNSName(text)
                | GeneralName::URI(text)
                | GeneralName::RFC822Name(text)
                    if text.bytes().any(|byte| byte.is_ascii_control()) =>
                {
                    return Err(IdentityError::Control);
                }
                GeneralName::Invalid(..) => return Err(IdentityError::Malformed),
                _ => {}
            }
        }
        Ok(identity)
    }

    /// The subject of a certificate for people, whatever is in it; at most 256 characters.
    pub(super) fn subject_of(certificate: &[u8]) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut subject = rfc4514(certificate.subject());
        subject.truncate(256);
        Some(subject)
    }

    /// The texts of commonName.
    pub(super) fn common_names(&self) -> impl Iterator<Item = &str> {
        let attributes = self.certificate.subject().iter_common_name();
        attributes.filter_map(|attribute| attribute.as_str().ok())
    }

    /// The texts of organizationName.
    pub(super) fn organizations(&self) -> impl Iterator<Item = &str> {
        let attributes = self.certificate.subject().iter_organization();
        attributes.filter_map(|attribute| attribute.as_str().ok())
    }

    /// The names of subjectAltName.
    pub(super) fn names(&self) -> impl Iterator<Item = &GeneralName<'a>> {
        let extension = self.certificate.subject_alternative_name().ok().flatten();
        extension
            .into_iter()
            .flat_map(|extension| &extension.value.general_names)
    }
}

/// The address in an iPAddress name: four or sixteen bytes.
pub(super) fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A distinguished name as a string (RFC 4514): the last part first, all in visible ASCII and
/// spaces.
fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.iter().rev().enumerate() {
        for (position, attribute) in part.iter().enumerate() {
            text.push_str(match (index, position) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let short = short_name(attribute.attr_type());
    match short {
        Some(short) => text.push_str(short),
        None => _ = write!(text, "{}", attribute.attr_type()),
    }
    text.push('=');
    // RFC 4514 section 2.4: what has no string form is its encoding in hexadecimal.
    let (Some(_), Ok(value)) = (short, attribute.as_str()) else {
        let value = attribute.attr_value();
        text.push('#');
        let length = value.data.len();
        let tag = u8::try_from(value.tag().0).unwrap_or(0);
        let _ = match length {
            0..=127 => write!(text, "{tag:02X}{length:02X}"),
            128..=255 => write!(text, "{tag:02X}81{length:02X}"),
            _ => write!(text, "{tag:02X}82{length:04X}"),
        };
        for byte in value.data {
            let _ = write!(text, "{byte:02X}");
        }
        return;
    };
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(byte.into());
            }
            b' ' | b'#' if index == 0 => {
                text.push('\\');
                text.push(byte.into());
            }
            b' ' if index == last => text.push_str("\\ "),
            b' '..=b'~' => text.push(byte.into()),
            _ => _ = write!(text, "\\{byte:02X}"),
        }
    }
}

/// The names of RFC 4514 section 3, and two more that are common in certificates.
fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    Some(match &*oid.to_id_string() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn subject_and_names_are_written_in_visible_ascii() {
        let der = certificate(|params| {
            let subject = &mut params.distinguished_name;
            subject.push(DnType::CountryName, "DE");
            subject.push(DnType::OrganizationName, "Müller, Söhne + Co");
            subject.push(DnType::CommonName, "#client ");
            params.subject_alt_names = vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::URI("spiffe://x/a,DNS:admin".try_into().unwrap()),
                SanType::IpAddress("192.0.2.1".parse().unwrap()),
                SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            ];
        });
        let identity = ClientIdentity::read(&der).unwrap();
        assert_eq!(
            identity.subject,
            "CN=\\#client\\ ,O=M\\C3\\BCller\\, S\\C3\\B6hne \\+ Co,C=DE"
        );
        assert_eq!(
            identity.san,
            "DNS:a.example,URI:spiffe://x/a%2CDNS:admin,IP:192.0.2.1,email:a@b.example"
        );
    }

    #[test]
    fn what_has_no_string_form_is_hexadecimal() {
        let der = certificate(|params| {
            let name = rcgen::string::BmpString::try_from("Ab").unwrap();
            params
                .distinguished_name
                .push(DnType::CommonName, DnValue::BmpString(name));
            params
                .distinguished_name
                .push(DnType::CustomDnType(vec![2, 5, 4, 12]), "x");
        });
        let identity = ClientIdentity::read(&der).unwrap();
        assert_eq!(identity.subject, "2.5.4.12=#0C0178,CN=#1E0400410062");
        assert_eq!(identity.san, "");
    }

    #[test]
    fn control_characters_identify_nobody() {
        for text in ["a\0b", "a\r\nX: y", "a\u{7f}"] {
            let der =
                certificate(|params| params.distinguished_name.push(DnType::CommonName, text));
            assert_eq!(ClientIdentity::read(&der), Err(IdentityError::Control));
            assert!(Identity::subject_of(&der).unwrap().starts_with("CN=a\\"));
            let der = certificate(|params| {
                params.subject_alt_names = vec![SanType::URI(text.try_into().unwrap())];
            });
            assert_eq!(ClientIdentity::read(&der), Err(IdentityError::Control));
        }
        assert_eq!(ClientIdentity::read(b"x"), Err(IdentityError::Malformed));
    }
}
