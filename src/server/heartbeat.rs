//! Whether every accept loop still turns: asked for by the watchdog, answered by the loop's own
//! task, whatever it is waiting for just then.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

/// Asks the accept loops; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<Mutex<Vec<mpsc::Sender<Beat>>>>);

/// One loop's part, in its task. Dropped by a loop that ends by itself, it never answers again.
#[derive(Debug)]
pub struct Pulse {
    heartbeat: Heartbeat,
    sender: mpsc::Sender<Beat>,
    beats: mpsc::Receiver<Beat>,
}

type Beat = oneshot::Sender<()>;

impl Heartbeat {
    /// A pulse for a loop that begins: waited for from now on, until it has [left](Pulse::leave).
    #[must_use]
    pub fn join(&self) -> Pulse {
        let (sender, beats) = mpsc::channel(1);
        self.loops().push(sender.clone());
        Pulse {
            heartbeat: self.clone(),
            sender,
            beats,
        }
    }

    /// Waits until every loop that there is has answered: for ever where one is stuck or has died.
    /// Callers set the deadline.
    pub async fn answered(&self) {
        let loops = self.loops().clone();
        for own in loops {
            let (beat, answer) = oneshot::channel();
            let answered = own.send(beat).await.is_ok() && answer.await.is_ok();
            // One that leaves is forgotten before it closes its end; one that has died is not.
            if !answered && self.waits_for(&own) {
                std::future::pending::<()>().await;
            }
        }
    }

    fn waits_for(&self, own: &mpsc::Sender<Beat>) -> bool {
        self.loops().iter().any(|it| it.same_channel(own))
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<Beat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Waits for `work` and answers meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                // First: work that never has to wait must not keep it from answering.
                biased;
                Some(beat) = self.beats.recv() => {
                    // Whoever asked may have given up.
                    let _ = beat.send(());
                }
                result = &mut work => return result,
            }
        }
    }

    /// The loop ends because it was told to.
    pub(super) fn leave(self) {
        let mut loops = self.heartbeat.loops();
        loops.retain(|it| !it.same_channel(&self.sender));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn answers(heartbeat: &Heartbeat) -> bool {
        let answered = heartbeat.answered();
        tokio::time::timeout(Duration::from_secs(1), answered)
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_answers_and_one_that_is_stuck_does_not() {
        let heartbeat = Heartbeat::default();
        assert!(answers(&heartbeat).await, "there is none");
        let mut first = heartbeat.join();
        let second = heartbeat.join();
        let waiting = tokio::spawn(async move {
            first.during(std::future::pending::<()>()).await;
        });
        // Nobody polls the second.
        assert!(!answers(&heartbeat).await);
        second.leave();
        assert!(answers(&heartbeat).await);
        assert!(answers(&heartbeat).await, "again");
        // It dies, and so is missed.
        waiting.abort();
        assert!(waiting.await.is_err());
        assert!(!answers(&heartbeat).await);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_never_waits_does_not_keep_a_loop_from_answering() {
        let heartbeat = Heartbeat::default();
        let mut pulse = heartbeat.join();
        let busy = tokio::spawn(async move {
            loop {
                pulse.during(std::future::ready(())).await;
                tokio::task::yield_now().await;
            }
        });
        assert!(answers(&heartbeat).await);
        busy.abort();
    }
}
