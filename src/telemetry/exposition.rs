//! The text in which a scraper reads the metrics: Prometheus text format 0.0.4.
//!
//! A family is named by its base name and type, and the encoder makes the lines: OpenMetrics, which
//! names counters differently and adds exemplars, is a second [`Format`] and no second list.

use std::fmt::{self, Write};

use super::histogram::{Buckets, Reading};

/// In which text format metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4, which every scraper reads.
    Prometheus,
}

/// Collects families in any order and writes them sorted by name.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    families: Vec<(String, String)>,
}

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Family {
    name: String,
    text: String,
}

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations by bucket.
    Histogram,
}

/// Label names and values, without the histogram's own `le`.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Format {
    /// The `Content-Type` of an answer in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Exposition {
    /// Nothing yet.
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            families: Vec::new(),
        }
    }

    /// Adds a family; `base` is its name without prefix and without the `_total` of counters. A
    /// family without samples is left out.
    pub(super) fn family(
        &mut self,
        base: &'static str,
        kind: Kind,
        help: &'static str,
        samples: impl FnOnce(&mut Family),
    ) {
        let name = match (self.format, kind) {
            (Format::Prometheus, Kind::Counter) => format!("handfast_{base}_total"),
            (Format::Prometheus, Kind::Gauge | Kind::Histogram) => format!("handfast_{base}"),
        };
        let mut family = Family {
            name,
            text: String::new(),
        };
        samples(&mut family);
        if family.text.is_empty() {
            return;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = family.name;
        let head = format!(
            "# HELP {name} {}\n# TYPE {name} {kind}\n",
            Escaped::help(help)
        );
        self.families.push((name, head + &family.text));
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        self.families.sort();
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

impl Family {
    /// One number.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl fmt::Display) {
        self.line("", labels, None, &value);
    }

    /// One histogram: a cumulative line for each bucket, `+Inf`, `_sum` in seconds and `_count`.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, buckets: &Buckets, reading: &Reading) {
        let mut cumulative = 0;
        for (count, &bound) in reading.counts.iter().zip(buckets.bounds()) {
            cumulative += count;
            self.line("_bucket", labels, Some(&Seconds(bound)), &cumulative);
        }
        let count = reading.count();
        self.line("_bucket", labels, Some(&"+Inf"), &count);
        self.line("_sum", labels, None, &Seconds(reading.sum));
        self.line("_count", labels, None, &count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        le: Option<&dyn fmt::Display>,
        value: &dyn fmt::Display,
    ) {
        let text = &mut self.text;
        text.push_str(&self.name);
        text.push_str(suffix);
        let mut separator = '{';
        for (name, label) in labels {
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}=\"{}\"", Escaped::label(label));
            separator = ',';
        }
        if let Some(le) = le {
            let _ = write!(text, "{separator}le=\"{le}\"");
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// Nanoseconds written as seconds, without the rounding of a float.
pub(super) struct Seconds(pub(super) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nanos == 0 {
            return write!(f, "{seconds}");
        }
        let fraction = format!("{nanos:09}");
        write!(f, "{seconds}.{}", fraction.trim_end_matches('0'))
    }
}

/// Text with what would break a line of the format escaped.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl<'a> Escaped<'a> {
    const fn label(text: &'a str) -> Self {
        Self { text, quotes: true }
    }

    const fn help(text: &'a str) -> Self {
        Self {
            text,
            quotes: false,
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
