//! Clients that really fail: what the report says of each, and that a change of the policy that it
//! proposes lets the same client in.

mod case;
mod clients;
mod details;
mod endings;
mod offers;
mod policies;
