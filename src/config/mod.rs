//! TOML to a checked configuration, with every fault located.

mod diagnostic;
mod model;
mod names;

pub use diagnostic::{Diagnostic, Diagnostics, Location, Source, Sources};
pub use model::*;
pub use names::{CipherSuite, Group};
