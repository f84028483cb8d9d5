//! OCSP responses from a file, stapled for clients that ask (RFC 6066 section 8).
//!
//! Nothing is fetched and nothing verified: the client does that. What could only do harm is
//! refused: what is no response, a response that says "try later", one for another certificate.

use super::wire::Reader;

/// Why a file is no OCSP response to staple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Text where DER is wanted.
    #[error("is not an OCSP response as DER (`openssl ocsp -respout` writes one)")]
    NotDer,
    /// The responder had no answer (RFC 6960 section 2.3).
    #[error("is the refusal of a responder ({0}), not an answer")]
    Refusal(&'static str),
    /// The certificate's serial number is not in it.
    #[error("is about another certificate")]
    OtherCertificate,
    /// It would not fit a handshake.
    #[error("has more than 64 KiB")]
    TooLong,
}

/// No responder's answer comes near this; it is sent in every full handshake that asks for it.
const LONGEST: usize = 64 * 1024;

/// Checks that `der` is a response about the certificate with this serial number.
///
/// # Errors
/// Why it is none.
pub(super) fn check(der: &[u8], serial: &[u8]) -> Result<(), OcspError> {
    if der.len() > LONGEST {
        return Err(OcspError::TooLong);
    }
    // OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, responseBytes [0] OPTIONAL }
    let mut outer = Reader::new(der);
    let mut response = element(&mut outer, 0x30).ok_or(OcspError::NotDer)?;
    let mut status = element(&mut response, 0x0a).ok_or(OcspError::NotDer)?;
    match status.u8().ok_or(OcspError::NotDer)? {
        0 if outer.is_empty() => {}
        0 => return Err(OcspError::NotDer),
        1 => return Err(OcspError::Refusal("malformedRequest")),
        2 => return Err(OcspError::Refusal("internalError")),
        3 => return Err(OcspError::Refusal("tryLater")),
        5 => return Err(OcspError::Refusal("sigRequired")),
        6 => return Err(OcspError::Refusal("unauthorized")),
        _ => return Err(OcspError::Refusal("unknown status")),
    }
    let body = element(&mut response, 0xa0)
        .ok_or(OcspError::NotDer)?
        .rest();
    // The CertID of an answer ends with the serial number as an INTEGER (RFC 6960 section 4.1.1).
    let mut number = vec![2, u8::try_from(serial.len()).unwrap_or(u8::MAX)];
    number.extend_from_slice(serial);
    match body.windows(number.len()).any(|bytes| bytes == number) {
        true => Ok(()),
        false => Err(OcspError::OtherCertificate),
    }
}

/// The contents of the next element, if it has this tag.
fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<Reader<'a>> {
    if reader.u8()? != tag {
        return None;
    }
    let length = match reader.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(reader.u8()?),
        0x82 => usize::from(reader.u16()?),
        _ => return None,
    };
    reader.take(length).map(Reader::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u8, body: &[u8]) -> Vec<u8> {
        let mut inner = vec![0x0a, 1, status];
        if !body.is_empty() {
            inner.extend([0xa0, u8::try_from(body.len()).unwrap()]);
            inner.extend(body);
        }
        let mut outer = vec![0x30, u8::try_from(inner.len()).unwrap()];
        outer.extend(inner);
        outer
    }

    #[test]
    fn a_response_is_about_its_certificate() {
        let serial = [0, 0x81, 7];
        let good = response(0, &[9, 9, 2, 3, 0, 0x81, 7, 9]);
        assert_eq!(check(&good, &serial), Ok(()));
        assert_eq!(check(&good, &[1]), Err(OcspError::OtherCertificate));
        assert_eq!(
            check(&response(3, &[]), &serial),
            Err(OcspError::Refusal("tryLater"))
        );
        let long = [good.as_slice(), &[0]].concat();
        for bad in [&b""[..], b"-----BEGIN", &good[..good.len() - 1], &long] {
            assert_eq!(check(bad, &serial), Err(OcspError::NotDer), "{bad:?}");
        }
        assert_eq!(check(&[0; 70_000], &serial), Err(OcspError::TooLong));
    }
}
