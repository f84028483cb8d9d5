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
    Used,
    /// The conditions were met and the client waited.
    EligibleUnused,
    /// A full TLS 1.2 handshake whose conditions the client's offer did not meet.
    Ineligible,
    /// Not a full TLS 1.2 handshake.
    NotApplicable,
}

impl FalseStart {
    /// Every outcome.
    pub const ALL: [Self; 4] = [
        Self::Used,
        Self::EligibleUnused,
        Self::Ineligible,
        Self::NotApplicable,
    ];

    /// The name in metrics, events and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::EligibleUnused => "eligible_unused",
            Self::Ineligible => "ineligible",
            Self::NotApplicable => "not_applicable",
        }
    }
}
