//! The probing client behind `handfast probe`: one handshake with a server, message by message.
//!
//! rustls makes the handshake over a stream that keeps every record. Afterwards the records are
//! read with the keys that rustls used, so that the encrypted messages of TLS 1.3 are told by
//! their own names and sizes and not by what the protocol says they should be.

mod attempt;
mod certificate;
mod ending;
mod judge;
mod opener;
mod prober;
mod script;
mod secrets;
mod tape;
mod target;
mod text;

pub use attempt::{Attempt, Negotiated, Step};
pub use certificate::CertificateFacts;
pub use ending::{Ending, EndingClass};
pub use judge::{Verdict, Verification};
pub use prober::{ProbeError, ProbeSettings, Prober};
pub use target::{Target, TargetError};
pub use text::{Report, render};
