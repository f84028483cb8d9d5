//! Everything at once for a while: each body arrives whole or breaks off, nothing hangs, and
//! nothing is left behind.
//!
//! Five seconds of it as a rule, a minute with `HANDFAST_SOAK`.

mod exchange;
mod level;
mod mixed_traffic;
mod traffic;
