//! The budgets of an HTTP/2 connection.

/// The budget that an HTTP/2 client went past, for which its connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http2Limit {
    /// `limits.h2_resets`: streams that the client reset.
    ClientResets,
    /// `limits.h2_resets`: streams that the client made us reset.
    ServerResets,
    /// `limits.h2_control_frames`.
    ControlFrames,
    /// A header block of more bytes or frames than `limits.request_headers` needs.
    HeaderBlock,
    /// `timeouts.request_header`: the preface or a header block did not come whole.
    RequestHeader,
    /// `timeouts.response_idle`: the client took nothing of a response, or as good as nothing.
    ResponseIdle,
}

impl Http2Limit {
    /// Every budget.
    pub const ALL: [Self; 6] = [
        Self::ClientResets,
        Self::ServerResets,
        Self::ControlFrames,
        Self::HeaderBlock,
        Self::RequestHeader,
        Self::ResponseIdle,
    ];

    /// The name in metrics and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientResets => "client_resets",
            Self::ServerResets => "server_resets",
            Self::ControlFrames => "control_frames",
            Self::HeaderBlock => "header_block",
            Self::RequestHeader => "request_header",
            Self::ResponseIdle => "response_idle",
        }
    }
}
