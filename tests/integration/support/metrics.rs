//! A reader of the Prometheus text format, strict about what the tests rely on.

use std::collections::BTreeMap;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The name with its prefix.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The value.
    pub(crate) value: f64,
}

/// Reads every sample; panics at a line that is none.
pub(crate) fn parse(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line:?}")))
        .collect()
}

/// Adds up the samples named `handfast_{name}` that carry all of `labels`; `None` if there are
/// none.
pub(crate) fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let name = format!("handfast_{name}");
    samples
        .iter()
        .filter(|sample| sample.name == name)
        .filter(|sample| {
            labels
                .iter()
                .all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        })
        .map(|sample| sample.value)
        .reduce(|left, right| left + right)
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().ok()?,
    };
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample {
            name: series.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (content, after) = quoted(after)?;
        labels.insert(label.to_owned(), content);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((content, &text[index + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                other => content.push(other),
            },
            other => content.push(other),
        }
    }
    None
}

#[test]
fn samples_are_read_with_their_escapes() {
    let samples = parse(
        "# HELP handfast_x a\nhandfast_x{a=\"1,\\\"2\",b=\"\\\\\"} 3\nhandfast_x{a=\"2\"} 4\nhandfast_y 5\n",
    );
    assert_eq!(samples[0].labels["a"], "1,\"2");
    assert_eq!(sum(&samples, "x", &[]), Some(7.0));
    assert_eq!(sum(&samples, "x", &[("b", "\\")]), Some(3.0));
    assert_eq!(sum(&samples, "y", &[]), Some(5.0));
    assert_eq!(sum(&samples, "z", &[]), None);
}
