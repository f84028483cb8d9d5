//! A strict reader of the Prometheus text format 0.0.4 and of OpenMetrics 1.0, for tests: stricter
//! than any scraper.

use std::collections::{BTreeMap, BTreeSet};

use super::exposition::Format;
use super::metrics::Metrics;

/// Sample values by series: the name and the labels as they stand in the text.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Reads `text` line by line and panics at the first thing that is not exactly right: HELP and TYPE
/// once before the samples of a family, families sorted and in one piece, names and escapes legal,
/// no series twice, counters named `_total`, buckets cumulative and complete.
pub(crate) fn read(text: &str) -> Samples {
    let (samples, exemplars) = read_as(Format::Prometheus, text);
    assert_eq!(exemplars, []);
    samples
}

/// What a scraper reads of `metrics`, as [`read`] does.
pub(super) fn of(metrics: &Metrics) -> Samples {
    read(&metrics.render(Format::Prometheus))
}

/// Series of buckets, and the exemplars of them as they stand in the text.
pub(crate) type FoundExemplars = Vec<(String, String)>;

/// Reads OpenMetrics text as [`read`] reads the other: families of counters have no suffix, an
/// exemplar belongs to a bucket and lies within it, and the last line is `# EOF`.
pub(crate) fn read_openmetrics(text: &str) -> (Samples, FoundExemplars) {
    let text = text.strip_suffix("# EOF\n").unwrap();
    assert!(!text.contains("# EOF"));
    read_as(Format::OpenMetrics, text)
}

fn read_as(format: Format, text: &str) -> (Samples, FoundExemplars) {
    assert!(text.ends_with('\n'));
    let mut exemplars = Vec::new();
    let mut samples = Samples::new();
    let mut family = (String::new(), String::new());
    let mut histograms = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty(), "{line}");
            assert!(name > family.0.as_str(), "{name} after {}", family.0);
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let total = kind == "counter" && format == Format::Prometheus;
            assert_eq!(total, name.ends_with("_total"), "{name}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (line, exemplar) = match line.split_once(" # ") {
            Some((line, exemplar)) => (line, Some(exemplar)),
            None => (line, None),
        };
        let (series, value) = line.rsplit_once(' ').unwrap();
        if let Some(exemplar) = exemplar {
            let bounds = split(series).1;
            let le: f64 = bounds
                .iter()
                .find(|(name, _)| name == "le")
                .unwrap()
                .1
                .parse()
                .unwrap();
            let (labels, numbers) = exemplar.split_once("} ").unwrap();
            let labels = split(&format!("exemplar{labels}}}")).1;
            let length: usize = labels
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            assert!((1..=128).contains(&length), "{exemplar}");
            let (value, time) = numbers.split_once(' ').unwrap();
            assert!(value.parse::<f64>().unwrap() <= le, "{line} {exemplar}");
            assert!(time.parse::<f64>().unwrap() > 0.0, "{exemplar}");
            exemplars.push((series.to_owned(), exemplar.to_owned()));
        }
        let value: f64 = value.parse().unwrap();
        let (name, labels) = split(series);
        if family.1 == "histogram" {
            let suffix = name.strip_prefix(&family.0).unwrap();
            let mut labels = labels;
            let le = labels.iter().position(|(name, _)| name == "le");
            assert_eq!(suffix == "_bucket", le.is_some(), "{line}");
            let le = le.map(|le| labels.remove(le).1);
            let histogram: &mut Histogram =
                histograms.entry((family.0.clone(), labels)).or_default();
            match (suffix, le) {
                ("_bucket", Some(le)) => histogram.buckets.push((le.parse().unwrap(), value)),
                ("_sum", None) => assert_eq!(histogram.sum.replace(value), None),
                ("_count", None) => assert_eq!(histogram.count.replace(value), None),
                _ => panic!("{line}"),
            }
        } else {
            let suffix = match (format, &*family.1) {
                (Format::OpenMetrics, "counter") => "_total",
                _ => "",
            };
            assert_eq!(name.strip_prefix(&family.0), Some(suffix), "{line}");
        }
        assert_eq!(samples.insert(series.to_owned(), value), None, "{series}");
    }
    for (series, histogram) in histograms {
        let buckets = histogram.buckets;
        assert!(
            buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "{series:?}"
        );
        let last = buckets.last().unwrap();
        assert_eq!(last.0, f64::INFINITY, "{series:?}");
        assert_eq!(Some(last.1), histogram.count, "{series:?}");
        assert!(histogram.sum.unwrap() >= 0.0, "{series:?}");
    }
    (samples, exemplars)
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// The name and the labels of a series, unescaped.
fn split(series: &str) -> (&str, Vec<(String, String)>) {
    let legal = |name: &str| {
        !name.is_empty()
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    let Some((name, rest)) = series.split_once('{') else {
        assert!(legal(series), "{series}");
        return (series, Vec::new());
    };
    assert!(legal(name), "{series}");
    let mut rest = rest.strip_suffix('}').unwrap();
    let mut labels = Vec::new();
    loop {
        let (label, quoted) = rest.split_once("=\"").unwrap();
        assert!(legal(label), "{series}");
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    '\\' => '\\',
                    '"' => '"',
                    'n' => '\n',
                    other => panic!("escape of {other} in {series}"),
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((label.to_owned(), value));
        match &quoted[end + 1..] {
            "" => break,
            more => rest = more.strip_prefix(',').unwrap(),
        }
    }
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "{series}");
    (name, labels)
}
