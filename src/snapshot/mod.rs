//! One immutable generation of everything the configuration describes, and how it is built.
//!
//! [`Snapshot::build`] puts it together, [`SnapshotStore`] publishes it.

mod builder;
mod generation;
mod kept;

pub use generation::{ListenerState, Snapshot, SnapshotStore};
pub use kept::KeptCertificate;
