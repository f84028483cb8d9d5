//! The one place where the tokio runtime is built.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A multi-thread runtime with `workers` threads; 0 is one per core.
///
/// # Errors
/// The system gives no threads.
pub(super) fn build(workers: usize) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_name("handfast");
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.build()
}
