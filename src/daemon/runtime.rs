//! The one place where the tokio runtime is built.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// One in so many turns of a worker is for the queue that all workers share. Its own queue holds 256,
/// and half of it goes to the shared one where it is full: with more tasks ready than that, tokio's
/// measure (one in up to 127) keeps some waiting for many rounds while others are run in each.
const SHARED_EVERY: u32 = 3;

/// A multi-thread runtime with `workers` threads; 0 is one per core.
///
/// # Errors
/// The system gives no threads.
pub(super) fn build(workers: usize) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .enable_all()
        .thread_name("handfast")
        .global_queue_interval(SHARED_EVERY);
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn no_task_waits_for_many_rounds_of_others() {
        const TASKS: usize = 1000;
        const TURNS: u32 = 50;
        let begun = Arc::new(AtomicUsize::new(0));
        let crowd = async move {
            let mut tasks = JoinSet::new();
            for _ in 0..TASKS {
                let begun = begun.clone();
                tasks.spawn(async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let mut turns = TURNS;
                    // Ready again at once, behind the others.
                    poll_fn(|cx| {
                        turns -= 1;
                        if turns == 0 {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    })
                    .await;
                    begun.load(Ordering::Relaxed)
                });
            }
            tasks.join_all().await
        };
        let runtime = build(1).unwrap();
        let begun_at_end = runtime.block_on(async { tokio::spawn(crowd).await.unwrap() });
        assert_eq!(begun_at_end.len(), TASKS);
        assert_eq!(begun_at_end.iter().min(), Some(&TASKS));
    }
}
