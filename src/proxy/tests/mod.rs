//! The service between real hyper servers and scripted origins.

mod bodies;
mod failures;
mod fields;
mod interim;
mod routes;
mod support;
mod trailing;
