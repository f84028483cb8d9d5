//! The text in which a scraper reads the metrics: Prometheus text format 0.0.4 or OpenMetrics 1.0.
//!
//! A family is named by its base name and type, and the encoder makes the lines: OpenMetrics names
//! counters differently, writes bounds in one way only, adds exemplars and ends with a line.

use std::fmt::{self, Write};

use super::exemplar::Exemplar;
use super::histogram::{Buckets, Reading};

/// In which text format metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4, which every scraper reads.
    Prometheus,
    /// OpenMetrics text 1.0: the same series, and exemplars.
    OpenMetrics,
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
    format: Format,
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
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
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
        // OpenMetrics names the family of a counter without the suffix of its samples.
        let mut name = format!("handfast_{base}");
        let family_name = name.clone();
        if kind == Kind::Counter {
            name.push_str("_total");
        }
        let mut family = Family {
            format: self.format,
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
        let name = match self.format {
            Format::Prometheus => family.name,
            Format::OpenMetrics => family_name,
        };
        let head = format!(
            "# HELP {name} {}\n# TYPE {name} {kind}\n",
            Escaped {
                text: help,
                // OpenMetrics escapes quotes everywhere.
                quotes: self.format == Format::OpenMetrics,
            }
        );
        self.families.push((name, head + &family.text));
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        self.families.sort();
        let mut text: String = self.families.into_iter().map(|(_, text)| text).collect();
        if self.format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

impl Family {
    /// One number.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl fmt::Display) {
        self.line("", labels, None, &value, None);
    }

    /// One histogram: a cumulative line for each bucket, `+Inf`, `_sum` in seconds and `_count`.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, buckets: &Buckets, reading: &Reading) {
        self.histogram_with(labels, buckets, reading, &[]);
    }

    /// One histogram with an exemplar for some of its buckets, the last of which is `+Inf`.
    /// Prometheus text has no exemplars.
    pub(super) fn histogram_with(
        &mut self,
        labels: Labels<'_>,
        buckets: &Buckets,
        reading: &Reading,
        exemplars: &[Option<Exemplar>],
    ) {
        let format = self.format;
        let exemplar = |bucket: usize| match format {
            Format::Prometheus => None,
            Format::OpenMetrics => exemplars.get(bucket).copied().flatten(),
        };
        let mut cumulative = 0;
        for (bucket, (count, &bound)) in reading.counts.iter().zip(buckets.bounds()).enumerate() {
            cumulative += count;
            let bound: &dyn fmt::Display = match format {
                Format::Prometheus => &Seconds(bound),
                Format::OpenMetrics => &CanonicalSeconds(bound),
            };
            self.line(
                "_bucket",
                labels,
                Some(bound),
                &cumulative,
                exemplar(bucket),
            );
        }
        let count = reading.count();
        let last = exemplar(buckets.bounds().len());
        self.line("_bucket", labels, Some(&"+Inf"), &count, last);
        self.line("_sum", labels, None, &Seconds(reading.sum), None);
        self.line("_count", labels, None, &count, None);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        le: Option<&dyn fmt::Display>,
        value: &dyn fmt::Display,
        exemplar: Option<Exemplar>,
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
        let _ = write!(text, " {value}");
        if let Some(exemplar) = exemplar {
            let _ = write!(text, " # {exemplar}");
        }
        text.push('\n');
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

/// A bound as OpenMetrics wants it, as Go's `%g` writes a float: always with a fraction, and with an
/// exponent below 0.0001. So a bound is the same text, whoever exposes it.
struct CanonicalSeconds(u64);

impl fmt::Display for CanonicalSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0) {
            Ok(nanos @ 1..100_000) => {
                let text = format!("{:e}", f64::from(nanos) / 1e9);
                let (mantissa, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
                write!(f, "{mantissa}e-{exponent:0>2}")
            }
            _ if self.0.is_multiple_of(1_000_000_000) => write!(f, "{}.0", Seconds(self.0)),
            _ => Seconds(self.0).fmt(f),
        }
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
