//! Listeners, accept loops and connections.
