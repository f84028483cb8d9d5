//! The chart: a group of bars for each row, drawn against the group's largest.

use std::fmt::Write as _;

use crate::peers::Peer;
use crate::results::Results;
use crate::table::figure;

const WIDTH: f64 = 900.0;
const LABEL: f64 = 250.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const TOP: f64 = 64.0;

/// Room for the figure beside the longest bar.
const FIGURE: f64 = 90.0;

const fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Handfast => "#c2410c",
        Peer::Nginx => "#15803d",
        Peer::Haproxy => "#1d4ed8",
    }
}

/// Draws the medians, with a line from the least to the greatest.
pub(crate) fn render(results: &Results) -> String {
    let rows: Vec<_> = results
        .rows
        .iter()
        .filter(|row| row.failure.is_none())
        .collect();
    let group = BAR * Peer::ALL.len() as f64 + GAP;
    let height = group.mul_add(rows.len() as f64, TOP + 10.0);
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
<text x="10" y="20" font-size="15" font-weight="bold">CPU time for each operation, and other costs: shorter is better</text>
<text x="10" y="38" fill="#555">Each group is drawn against its largest; thin lines go from the least to the greatest repetition. {}, {}</text>"##,
        results.machine.time, results.machine.processor,
    )
    .ok();
    for (index, peer) in Peer::ALL.into_iter().enumerate() {
        let x = 90.0f64.mul_add(index as f64, LABEL);
        writeln!(
            svg,
            r#"<rect x="{x}" y="46" width="10" height="10" fill="{}"/><text x="{}" y="55">{}</text>"#,
            colour(peer),
            x + 14.0,
            peer.name(),
        )
        .ok();
    }
    for (index, row) in rows.into_iter().enumerate() {
        let y = group.mul_add(index as f64, TOP + GAP / 2.0);
        let summaries = Peer::ALL.map(|peer| (peer, row.summary(peer, |sample| sample.value)));
        let largest = summaries
            .iter()
            .map(|(_, summary)| summary.max)
            .fold(1e-9, f64::max);
        let scale = (WIDTH - LABEL - FIGURE) / largest;
        writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
            LABEL - 8.0,
            BAR.mul_add(1.8, y),
            row.title,
        )
        .ok();
        for (place, (peer, summary)) in summaries.into_iter().enumerate() {
            let y = BAR.mul_add(place as f64, y);
            let middle = y + BAR / 2.0 - 0.5;
            writeln!(
                svg,
                r##"<rect x="{LABEL}" y="{y}" width="{:.1}" height="{}" fill="{}"/><path d="M{:.1} {middle}H{:.1}" stroke="#000"/><text x="{:.1}" y="{}">{} {}</text>"##,
                summary.median * scale,
                BAR - 1.0,
                colour(peer),
                summary.min.mul_add(scale, LABEL),
                summary.max.mul_add(scale, LABEL),
                summary.max.mul_add(scale, LABEL + 4.0),
                y + BAR - 3.0,
                figure(summary.median),
                row.metric.unit(),
            )
            .ok();
        }
    }
    svg += "</svg>\n";
    svg
}
