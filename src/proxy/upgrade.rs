//! Requests that ask for another protocol on their connection: upgrades over HTTP/1.1 (RFC 9110
//! section 7.8), and WebSocket over HTTP/2 (RFC 8441).
//!
//! Upstreams of HTTP/2 alone see an extended CONNECT as it came, others always the HTTP/1.1 form.
//! Nothing is let through before the upstream has switched, so a client cannot hide a request behind
//! one that is refused.

use aws_lc_rs::{digest, rand};
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::Protocol;

use super::base64::base64;
use super::error::ProxyError;
use super::field_set::{FieldSet, Known};
use super::headers::BodyLength;
use crate::config::UpstreamProtocol;

const WEBSOCKET: &str = "websocket";
/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the fields of an answer with 101 switch to WebSocket.
pub(super) fn is_websocket(fields: &HeaderMap) -> bool {
    tokens(fields, &UPGRADE).any(|it| it.eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// What a request asks to be switched to.
#[derive(Debug)]
pub(super) enum Upgrade {
    /// Nothing.
    None,
    /// These protocols, over HTTP/1.1.
    To(HeaderValue),
    /// WebSocket by an extended CONNECT; the upstream proves itself with this
    /// `Sec-WebSocket-Accept`.
    Stream {
        /// `Sec-WebSocket-Key` of the request upstream.
        key: HeaderValue,
        /// What its answer must have.
        accept: HeaderValue,
    },
    /// WebSocket by an extended CONNECT here and there: 200 is the upstream's proof.
    Connect,
}

impl Upgrade {
    /// Reads what `head`, which has `fields`, asks for. `Upgrade` is ignored, as it may be, where there is a body: it
    /// would have to be sent before the switch, and where it ends must never be in doubt. So are
    /// HTTP/1.0 and `h2c`, which RFC 9113 has taken back.
    ///
    /// # Errors
    /// CONNECT without a protocol, or with one that is not served.
    pub(super) fn read(
        head: &Parts,
        fields: FieldSet,
        body: BodyLength,
    ) -> Result<Self, ProxyError> {
        if head.method == Method::CONNECT {
            return match head.extensions.get::<Protocol>() {
                None => Err(ProxyError::Method(head.method.clone())),
                Some(protocol) if protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) => {
                    Self::stream()
                }
                Some(_) => Err(ProxyError::Protocol),
            };
        }
        if head.version != Version::HTTP_11
            || body != BodyLength::None
            || !fields.has(Known::Upgrade)
            || !tokens(&head.headers, &CONNECTION).any(|it| it.eq_ignore_ascii_case(b"upgrade"))
        {
            return Ok(Self::None);
        }
        let protocols: Vec<&[u8]> = tokens(&head.headers, &UPGRADE)
            .filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
            .collect();
        Ok(match HeaderValue::from_bytes(&protocols.join(&b", "[..])) {
            Ok(value) if !value.is_empty() => Self::To(value),
            _ => Self::None,
        })
    }

    fn stream() -> Result<Self, ProxyError> {
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).map_err(|_| ProxyError::NoRandom)?;
        let key = base64(&nonce);
        let accept = accept(key.as_bytes());
        // Base64 is always a value.
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ProxyError::NoRandom);
        Ok(Self::Stream {
            key: value(&key)?,
            accept: value(&accept)?,
        })
    }

    /// What is left of it towards an upstream of this protocol: over HTTP/2 a connection cannot be
    /// switched, so `Upgrade` is ignored, as it may be; an extended CONNECT stays one.
    pub(super) fn towards(self, protocol: UpstreamProtocol) -> Self {
        match (protocol, self) {
            (UpstreamProtocol::Http2, Self::To(_)) => Self::None,
            (UpstreamProtocol::Http2, Self::Stream { .. }) => Self::Connect,
            (_, upgrade) => upgrade,
        }
    }

    /// Whether the client has sent an extended CONNECT.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. } | Self::Connect)
    }

    /// Whether anything is asked for.
    pub(super) const fn is_asked(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Puts it into the request upstream, whose other fields are as they are to be.
    pub(super) fn put(&self, head: &mut Parts) {
        let protocols = match self {
            Self::None => return,
            Self::To(protocols) => protocols.clone(),
            Self::Connect => {
                head.extensions.insert(Protocol::from_static(WEBSOCKET));
                return;
            }
            Self::Stream { key, .. } => {
                head.method = Method::GET;
                let headers = &mut head.headers;
                headers.insert(SEC_WEBSOCKET_KEY, key.clone());
                headers
                    .entry(SEC_WEBSOCKET_VERSION)
                    .or_insert(HeaderValue::from_static("13"));
                HeaderValue::from_static(WEBSOCKET)
            }
        };
        let headers = &mut head.headers;
        headers.remove(TE);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocols);
    }

    /// Turns the upstream's answer, whose `Upgrade` was `chosen`, into the client's: 101 into 200
    /// where the client has a stream of its own (RFC 8441 section 5).
    ///
    /// # Errors
    /// To a client over HTTP/2 any 2xx would be a tunnel: there is one only after 101 with the
    /// right proof, or after 200 over HTTP/2.
    pub(super) fn answer<B>(
        &self,
        response: &mut Response<B>,
        chosen: Option<HeaderValue>,
    ) -> Result<(), ProxyError> {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match self {
            Self::None => {}
            Self::To(_) => {
                if let (true, Some(chosen)) = (switched, chosen) {
                    let headers = response.headers_mut();
                    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                    headers.insert(UPGRADE, chosen);
                }
            }
            Self::Stream { accept, .. } => {
                let proof = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
                if switched && proof.as_ref() == Some(accept) {
                    *response.status_mut() = StatusCode::OK;
                } else if switched || response.status().is_success() {
                    return Err(ProxyError::BadUpgrade);
                }
            }
            Self::Connect => {
                // Neither may stand in a head that opens a tunnel (RFC 9110 section 8.6, RFC 8441
                // section 5).
                let headers = response.headers_mut();
                headers.remove(SEC_WEBSOCKET_ACCEPT);
                if response.status() == StatusCode::OK {
                    response.headers_mut().remove(CONTENT_LENGTH);
                } else if response.status().is_success() {
                    return Err(ProxyError::BadUpgrade);
                }
            }
        }
        Ok(())
    }
}

/// The elements of a list.
fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    base64(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(head: &Parts, body: BodyLength) -> Upgrade {
        Upgrade::read(head, FieldSet::of(&head.headers), body).unwrap()
    }

    fn head(version: Version, fields: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        request.into_parts().0
    }

    fn asked(fields: &[(&'static str, &'static str)]) -> Option<HeaderValue> {
        match read(&head(Version::HTTP_11, fields), BodyLength::None) {
            Upgrade::To(protocols) => Some(protocols),
            _ => None,
        }
    }

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        // RFC 6455 section 1.3.
        let accept = accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn both_fields_ask_and_h2c_is_left_out() {
        let connection = ("connection", "keep-alive, Upgrade");
        assert_eq!(
            asked(&[connection, ("upgrade", "WebSocket")]).unwrap(),
            "WebSocket"
        );
        assert_eq!(
            asked(&[connection, ("upgrade", "h2c, a/1"), ("upgrade", "b")]).unwrap(),
            "a/1, b"
        );
        for none in [
            &[connection, ("upgrade", "h2c")][..],
            &[connection, ("upgrade", " , ")],
            &[connection],
            &[("upgrade", "websocket")],
            &[("connection", "keep-alive"), ("upgrade", "websocket")],
        ] {
            assert_eq!(asked(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_body_an_old_version_and_http2_ask_for_nothing() {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        for (version, body) in [
            (Version::HTTP_11, BodyLength::Known(3)),
            (Version::HTTP_11, BodyLength::Unknown),
            (Version::HTTP_10, BodyLength::None),
            (Version::HTTP_2, BodyLength::None),
        ] {
            let upgrade = read(&head(version, &fields), body);
            assert!(!upgrade.is_asked(), "{version:?} {body:?}");
        }
    }

    #[test]
    fn a_stream_is_a_tunnel_only_with_proof() {
        let upgrade = Upgrade::stream().unwrap();
        let Upgrade::Stream { accept, .. } = &upgrade else {
            panic!("{upgrade:?}");
        };
        let answer = |status: u16, proof: Option<&HeaderValue>| {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(proof) = proof {
                let headers = response.headers_mut();
                headers.insert(SEC_WEBSOCKET_ACCEPT, proof.clone());
            }
            let answer = upgrade.answer(&mut response, None);
            answer.ok().map(|()| response.status().as_u16())
        };
        assert_eq!(answer(101, Some(accept)), Some(200));
        assert_eq!(answer(101, Some(&HeaderValue::from_static("x"))), None);
        assert_eq!(answer(101, None), None);
        assert_eq!(answer(200, Some(accept)), None);
        assert_eq!(answer(403, None), Some(403));
    }

    #[test]
    fn over_http2_a_stream_is_a_tunnel_after_200_alone() {
        let upgrade = Upgrade::stream().unwrap().towards(UpstreamProtocol::Http2);
        assert!(upgrade.is_stream());
        for (status, passes) in [(200, true), (204, false), (201, false), (403, true)] {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let headers = response.headers_mut();
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("x"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            assert_eq!(upgrade.answer(&mut response, None).is_ok(), passes);
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key(SEC_WEBSOCKET_ACCEPT));
            let length = response.headers().contains_key(CONTENT_LENGTH);
            assert_eq!(length, status != 200, "{status}");
        }
    }
}
