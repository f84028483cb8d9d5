//! Certificates and keys as PEM; the only user of rustls-pemfile.
