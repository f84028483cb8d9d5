//! A line of the last quarter of an hour.

use super::html::Html;

/// Steps of 15 seconds in a quarter of an hour.
const STEPS: usize = 60;
const HEIGHT: f64 = 24.0;

/// Draws `values`, oldest first, the last one at the right edge, from zero up; a step without a
/// value is a gap.
pub(super) fn write(out: &mut Html, values: &[Option<f64>]) {
    let values = &values[values.len().saturating_sub(STEPS + 1)..];
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let scale = if highest > 0.0 {
        (HEIGHT - 3.0) / highest
    } else {
        0.0
    };
    let first = (STEPS + 1).saturating_sub(values.len());
    out.raw(
        "<svg class=\"spark\" aria-hidden=\"true\" viewBox=\"0 0 60 24\" preserveAspectRatio=\"none\">",
    );
    let indexed: Vec<_> = values.iter().enumerate().collect();
    for run in indexed.chunk_by(|(_, left), (_, right)| left.is_some() == right.is_some()) {
        if run.iter().any(|(_, value)| value.is_none()) {
            continue;
        }
        out.raw("<polyline points=\"");
        for (index, value) in run {
            let y = HEIGHT - 1.5 - value.unwrap_or_default() * scale;
            let x = first + index;
            out.text(format_args!("{x},{y:.1} "));
            if run.len() == 1 {
                // A single one would not be seen.
                out.text(format_args!("{},{y:.1} ", x as f64 + 0.6));
            }
        }
        out.raw("\"/>");
    }
    out.raw("</svg>");
}
