//! One request: checked, routed, forwarded, answered.
mod stub;
pub use stub::*;
