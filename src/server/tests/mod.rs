//! What is read of connections beside hyper, byte by byte and frame by frame.

mod h1_framing;
mod h2_fields;
mod h2_ledger;
