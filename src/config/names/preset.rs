//! Presets: Mozilla's server side TLS guidelines, pinned by version so that an upgrade of handfast
//! never changes what a server accepts.

use super::cipher_suite::CipherSuite;
use super::group::Group;
use crate::report::ProtocolVersion;

/// `preset` of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// `modern-5.8`: TLS 1.3 alone.
    Modern58,
    /// `intermediate-5.8`, the default: TLS 1.2 and 1.3. Mozilla's DHE suites are left out.
    Intermediate58,
    /// `custom`: the policy names its versions, cipher suites and groups itself.
    Custom,
}

impl Preset {
    /// Every preset with its name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("intermediate-5.8", Self::Intermediate58),
        ("modern-5.8", Self::Modern58),
        ("custom", Self::Custom),
    ];

    /// Its versions; none for `custom`.
    #[must_use]
    pub const fn versions(self) -> &'static [ProtocolVersion] {
        match self {
            Self::Modern58 => &[ProtocolVersion::Tls13],
            Self::Intermediate58 => &[ProtocolVersion::Tls12, ProtocolVersion::Tls13],
            Self::Custom => &[],
        }
    }

    /// Its cipher suites in server order: AES-128 first where the guidelines leave the order
    /// free. None for `custom`.
    #[must_use]
    pub fn cipher_suites(self) -> Vec<&'static CipherSuite> {
        CipherSuite::ALL
            .iter()
            .filter(|suite| self.versions().contains(&suite.version))
            .collect()
    }

    /// Its groups; none for `custom`.
    #[must_use]
    pub fn groups(self) -> Vec<&'static Group> {
        let names: &[&str] = match self {
            Self::Modern58 | Self::Intermediate58 => {
                &["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]
            }
            Self::Custom => &[],
        };
        names
            .iter()
            .filter_map(|name| Group::by_name(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(preset: Preset) -> Vec<&'static str> {
        let suites = preset.cipher_suites();
        suites.iter().map(|suite| suite.openssl).collect()
    }

    #[test]
    fn presets_are_pinned() {
        let tls13 = [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        ];
        assert_eq!(suites(Preset::Modern58), tls13);
        let mut intermediate = tls13.to_vec();
        intermediate.extend([
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ]);
        assert_eq!(suites(Preset::Intermediate58), intermediate);
        for preset in [Preset::Modern58, Preset::Intermediate58] {
            let names: Vec<_> = preset.groups().iter().map(|group| group.name).collect();
            assert_eq!(
                names,
                ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]
            );
        }
        assert!(Preset::Custom.cipher_suites().is_empty());
        assert!(Preset::Custom.groups().is_empty());
    }
}
