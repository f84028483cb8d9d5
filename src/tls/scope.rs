//! What a session is good for: the policy that it was made under.

use aws_lc_rs::digest;

use crate::config::Policy;

/// The fingerprint of everything that a session must not leave.
///
/// Resumption skips the checks of a full handshake, so a session made where they are weak must be
/// worth nothing where they are strict (CVE-2025-23419), also when two policies, listeners or
/// machines share ticket keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope([u8; 32]);

impl Scope {
    /// The scope of `policy`: its name.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        Self([0; 32])
            .with("version", b"1")
            .with("policy", policy.name.as_bytes())
    }

    /// A scope for tests.
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Self {
        Self([0; 32]).with("policy", name.as_bytes())
    }

    /// The scope narrowed by one more setting.
    #[must_use]
    pub fn with(self, setting: &str, value: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        // Lengths first: no two settings can be read as one another.
        for part in [setting.as_bytes(), value] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut scope = [0; 32];
        scope.copy_from_slice(context.finish().as_ref());
        Self(scope)
    }

    /// Its bytes.
    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_cannot_be_taken_for_one_another() {
        let empty = Scope([0; 32]);
        assert_ne!(empty.with("ab", b"c"), empty.with("a", b"bc"));
        assert_ne!(empty.with("a", b""), empty);
        assert_ne!(
            empty.with("a", b"1").with("b", b"2"),
            empty.with("b", b"2").with("a", b"1")
        );
        assert_eq!(empty.with("a", b"1"), empty.with("a", b"1"));
    }
}
