//! What a process has printed so far, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::wait::wait_until;

/// The lines of one stream; grows while the process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
}

impl Log {
    /// Reads `stream` to its end on a thread of its own.
    pub(crate) fn collect(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.lock().push(text);
                line.clear();
            }
            writer.ended.store(true, Ordering::Release);
        });
        log
    }

    /// All of it, once the stream has ended.
    pub(crate) fn whole(&self) -> String {
        let ended = || self.ended.load(Ordering::Acquire);
        wait_until(Duration::from_secs(10), "the log ends", ended);
        self.text()
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// All of it as one text, for messages of failed tests.
    pub(crate) fn text(&self) -> String {
        self.lock().join("\n")
    }

    /// The lines that are JSON objects, with tracing's `fields` lifted to the top.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.lock()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(Value::is_object)
            .map(flatten)
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flatten(mut record: Value) -> Value {
    if let Some(Value::Object(fields)) = record.get_mut("fields").map(Value::take)
        && let Some(top) = record.as_object_mut()
    {
        top.remove("fields");
        top.extend(fields);
    }
    record
}
