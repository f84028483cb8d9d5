//! The closed list of ways in which an accept call fails.

/// How an accept error is met: the label of `accept_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFault {
    /// The connection was gone before it was taken: the next one may be fine.
    Connection,
    /// No descriptors or memory: pause, others must end first.
    Exhausted,
    /// Nothing that should happen: pause too, a listener is never given up.
    Unexpected,
}

impl AcceptFault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Exhausted, Self::Unexpected];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Exhausted => "exhausted",
            Self::Unexpected => "unexpected",
        }
    }
}
