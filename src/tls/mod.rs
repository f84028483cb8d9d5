//! The handshake engine: ClientHello, records, phases, policies and certificates.
