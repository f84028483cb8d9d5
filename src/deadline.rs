//! Named deadlines.
