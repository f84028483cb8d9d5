//! TLS names as plain data: cipher suites, groups and presets.

/// A cipher suite that can be negotiated.
#[derive(Debug, PartialEq, Eq)]
pub struct CipherSuite {
    /// The name in RFC 8446 or the IANA registry as rustls prints it.
    pub name: &'static str,
    /// The code point.
    pub code: u16,
}

/// A key exchange group that can be negotiated.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The IANA name.
    pub name: &'static str,
    /// The code point.
    pub code: u16,
}
