//! stub
mod stub;
pub use stub::*;
