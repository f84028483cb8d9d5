//! The command `handfast`.

/// Connections allocate little of many sizes, and often: with the system's allocator a resumed
/// TLS 1.2 handshake took 97.8 µs of CPU time, with this one 77.4, a keep-alive request 24.3 and
/// 18.0 (medians of one machine, same run).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> handfast::daemon::Exit {
    handfast::daemon::main()
}
