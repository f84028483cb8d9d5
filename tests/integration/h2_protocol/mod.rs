//! HTTP/2 frame by frame: how a client is answered that keeps to RFC 9113 and RFC 7541, and one
//! that does not.

mod case;
mod connection;
mod frame_types;
mod frames;
mod requests;
mod streams;
