//! How a handshake stood towards resumption and False Start.

/// What became of the client's offer to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumption {
    /// The session was resumed.
    Hit,
    /// The client offered nothing.
    NotOffered,
    /// The ticket was sealed with a key that is not ours, or not any more.
    UnknownKey,
    /// The session is older than its lifetime.
    Expired,
    /// The ticket does not decrypt under the key it names.
    Corrupt,
    /// The session belongs to another policy.
    Scope,
    /// The session ID is not in the store.
    CacheMiss,
    /// The session was found, but does not fit this handshake (suite, name, or missing EMS).
    Rejected,
}

impl Resumption {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::NotOffered,
        Self::UnknownKey,
        Self::Expired,
        Self::Corrupt,
        Self::Scope,
        Self::CacheMiss,
        Self::Rejected,
    ];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::NotOffered => "not_offered",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::Corrupt => "corrupt",
            Self::Scope => "scope",
            Self::CacheMiss => "cache_miss",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of False Start (RFC 7918), the client's act in full TLS 1.2 handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FalseStart {
    /// Application data came before the client can have seen our Finished.
    Used(Confidence),
    /// The conditions were met and the client waited.
    EligibleUnused,
    /// A full TLS 1.2 handshake that did not meet the conditions that most clients set.
    Ineligible(Ineligible),
    /// Not a full TLS 1.2 handshake.
    NotApplicable,
}

/// How sure it is that False Start was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confidence {
    /// The data was here before our Finished was written.
    Definite,
    /// It came after that, but sooner than the shortest round trip that the kernel has seen.
    Probable,
}

impl Confidence {
    /// The name in events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Definite => "definite",
            Self::Probable => "probable",
        }
    }
}

/// Which condition of False Start was not met. Suites are no reason: each of TLS 1.2 that can be
/// negotiated here has ECDHE and authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ineligible {
    /// The client offered no application protocol.
    NoAlpn,
    /// The policy negotiates no application protocol (`alpn = []`).
    AlpnOff,
    /// The policy holds it back in TLS 1.2 (`false_start = "discourage"`).
    Discouraged,
}

impl Ineligible {
    /// The name in events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAlpn => "no_alpn",
            Self::AlpnOff => "alpn_off",
            Self::Discouraged => "discouraged",
        }
    }
}

impl FalseStart {
    /// The names of the outcomes, by [`FalseStart::index`].
    pub const NAMES: [&'static str; 4] =
        ["used", "eligible_unused", "ineligible", "not_applicable"];

    /// Where the outcome stands in [`FalseStart::NAMES`]: the reason is left out.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Used(_) => 0,
            Self::EligibleUnused => 1,
            Self::Ineligible(_) => 2,
            Self::NotApplicable => 3,
        }
    }

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Why it was not eligible, in events and the API.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Ineligible(reason) => Some(reason.name()),
            Self::Used(_) | Self::EligibleUnused | Self::NotApplicable => None,
        }
    }

    /// How sure it is that it was used, in events and the API.
    #[must_use]
    pub const fn confidence(self) -> Option<&'static str> {
        match self {
            Self::Used(confidence) => Some(confidence.name()),
            Self::Ineligible(_) | Self::EligibleUnused | Self::NotApplicable => None,
        }
    }
}
