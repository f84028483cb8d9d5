//! `GET /`: where people look instead of read.
//!
//! The page is written here, whole, with its bars and lines as SVG: it needs no script to be read.
//! The script (`page.js`) asks for it again and puts the new sections in the place of the old
//! ones. Nothing is loaded from elsewhere.

mod answer;
mod asset;
mod bar;
mod causes;
mod certificates;
mod failures;
mod figures;
mod frame;
mod handshakes;
mod html;
mod mix;
mod reloads;
mod server_names;
mod spark;
mod strip;
mod upstreams;
mod view;
mod walk;
mod waterfall;

pub(super) use answer::{main, walk};
pub(super) use asset::Asset;
