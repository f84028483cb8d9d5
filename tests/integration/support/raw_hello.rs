//! ClientHellos of TLS 1.2 and before, byte by byte: what no library sends.

/// A ClientHello in one record, with whatever is wanted in it.
#[derive(Clone, Debug)]
pub(crate) struct RawHello {
    /// `client_version`
    pub(crate) version: [u8; 2],
    /// Cipher suites.
    pub(crate) suites: Vec<u16>,
    /// Extensions in order.
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
}

impl RawHello {
    /// One that is served by default: TLS 1.2, ECDHE-ECDSA with AES-128-GCM, P-256,
    /// `example.test`.
    pub(crate) fn new() -> Self {
        Self {
            version: [3, 3],
            suites: vec![0xc02b],
            extensions: vec![
                (0, name("example.test")),
                (10, vec![0, 2, 0, 23]),
                (11, vec![1, 0]),
                (13, vec![0, 4, 4, 3, 4, 1]),
            ],
        }
    }

    /// Of this version.
    pub(crate) fn version(mut self, version: [u8; 2]) -> Self {
        self.version = version;
        self
    }

    /// With these suites.
    pub(crate) fn suites(mut self, suites: &[u16]) -> Self {
        self.suites = suites.to_vec();
        self
    }

    /// Asking for this name.
    pub(crate) fn name(self, text: &str) -> Self {
        self.extension(0, name(text))
    }

    /// With this extension, in the place of one of that number if there is one.
    pub(crate) fn extension(mut self, number: u16, body: Vec<u8>) -> Self {
        match self.extensions.iter_mut().find(|(own, _)| *own == number) {
            Some((_, own)) => *own = body,
            None => self.extensions.push((number, body)),
        }
        self
    }

    /// The record.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = self.version.to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(u16::try_from(2 * self.suites.len()).unwrap().to_be_bytes());
        for suite in &self.suites {
            body.extend(suite.to_be_bytes());
        }
        body.extend([1, 0]);
        let mut extensions = Vec::new();
        for (number, content) in &self.extensions {
            extensions.extend(number.to_be_bytes());
            extensions.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            extensions.extend(content);
        }
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        record(22, &message(1, &body))
    }
}

/// A handshake message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

/// A record.
pub(crate) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 3, 1], &length[..], body].concat()
}

fn name(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut body = (length + 3).to_be_bytes().to_vec();
    body.push(0);
    body.extend(length.to_be_bytes());
    body.extend(text.bytes());
    body
}
