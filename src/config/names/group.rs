//! The five key exchange groups.

use crate::report::ProtocolVersion;

/// A key exchange group that can be negotiated.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The IANA name.
    pub name: &'static str,
    /// The code point.
    pub code: u16,
    /// Whether it is a hybrid with ML-KEM; those exist in TLS 1.3 only.
    pub hybrid: bool,
    aliases: &'static [&'static str],
}

impl Group {
    /// Every group, best first.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "X25519MLKEM768",
            code: 0x11ec,
            hybrid: true,
            aliases: &[],
        },
        Self {
            name: "secp256r1MLKEM768",
            code: 0x11eb,
            hybrid: true,
            aliases: &["P256MLKEM768", "P-256MLKEM768"],
        },
        Self {
            name: "X25519",
            code: 0x001d,
            hybrid: false,
            aliases: &["curve25519"],
        },
        Self {
            name: "secp256r1",
            code: 0x0017,
            hybrid: false,
            aliases: &["P-256", "P256", "prime256v1"],
        },
        Self {
            name: "secp384r1",
            code: 0x0018,
            hybrid: false,
            aliases: &["P-384", "P384"],
        },
    ];

    /// The group of that IANA name or alias (`P-256`, `prime256v1`), in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|group| {
            group.name.eq_ignore_ascii_case(name)
                || group
                    .aliases
                    .iter()
                    .any(|alias| alias.eq_ignore_ascii_case(name))
        })
    }

    /// The group of that code point.
    #[must_use]
    pub fn by_code(code: u16) -> Option<&'static Self> {
        Self::ALL.iter().find(|group| group.code == code)
    }

    /// Whether a handshake of `version` can use it.
    #[must_use]
    pub const fn usable_for(&self, version: ProtocolVersion) -> bool {
        match version {
            ProtocolVersion::Tls12 => !self.hybrid,
            ProtocolVersion::Tls13 => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls;
    use tokio_rustls::rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;

    #[test]
    fn every_group_is_found_by_each_of_its_names() {
        for group in Group::ALL {
            assert_eq!(Group::by_name(group.name), Some(group));
            assert_eq!(Group::by_code(group.code), Some(group));
        }
        for (alias, name) in [
            ("P-256", "secp256r1"),
            ("P-384", "secp384r1"),
            ("prime256v1", "secp256r1"),
            ("x25519", "X25519"),
        ] {
            assert_eq!(Group::by_name(alias).map(|group| group.name), Some(name));
        }
        assert_eq!(Group::by_name("secp521r1"), None);
        assert_eq!(Group::by_code(0x0019), None);
    }

    #[test]
    fn the_table_agrees_with_rustls() {
        for group in Group::ALL {
            let theirs = ALL_KX_GROUPS
                .iter()
                .find(|theirs| u16::from(theirs.name()) == group.code)
                .unwrap_or_else(|| panic!("rustls has no {}", group.name));
            assert_eq!(theirs.name().as_str(), Some(group.name));
            for (ours, version) in [
                (ProtocolVersion::Tls12, rustls::ProtocolVersion::TLSv1_2),
                (ProtocolVersion::Tls13, rustls::ProtocolVersion::TLSv1_3),
            ] {
                assert_eq!(group.usable_for(ours), theirs.usable_for_version(version));
            }
        }
    }
}
