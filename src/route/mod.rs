//! Which route a request takes.

mod matcher;
mod table;

pub use table::RouteTable;
