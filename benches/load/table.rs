//! The tables, in Markdown that reads well on a terminal too.

use std::fmt::Write as _;

use crate::library::Library;
use crate::peers::Peer;
use crate::results::{Results, Row, Sample};
use crate::stats::{Ratio, Summary, Verdict};
use crate::workloads::Metric;

const RIVALS: [Peer; 2] = [Peer::Nginx, Peer::Haproxy];

/// Everything worth reading of a run.
pub(crate) fn render(results: &Results) -> String {
    let mut text = String::new();
    heading(&mut text, results);
    if !results.rows.is_empty() {
        text += &main(results);
        text.push('\n');
        list(&mut text, "Where a peer is ahead", behind(results));
    }
    list(&mut text, "Remarks", remarks(results));
    let library = results.library.as_ref();
    if let Some(library) = library.filter(|library| !library.rows.is_empty()) {
        text += &libraries(results, library);
        text.push('\n');
    }
    if results.rows.is_empty() {
        return text;
    }
    text += "Throughput, latency, memory and how busy the cores were (medians):\n\n";
    text += &details(results);
    text += "\nhandfast's counters beside the client's, all repetitions together; a row where they differ fails:\n\n";
    text += &counters(results);
    text += "\nThe own client's limit, from the peer it was fastest against: what its core, with the upstream on it, would reach if it were always busy:\n\n";
    text += &limits(results);
    text
}

fn heading(text: &mut String, results: &Results) {
    let machine = &results.machine;
    let siblings = match machine.siblings {
        Some(true) => "; the two cores used are threads of one physical core",
        _ => "",
    };
    writeln!(
        text,
        "Measured {} at commit {} on {} × {} ({} MiB{siblings}), Linux {}; load average at the start {:.2}; \
         {} repetitions of {} s.",
        machine.time,
        machine.commit,
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.load_average,
        results.repetitions,
        results.seconds,
    )
    .ok();
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(program, version)| format!("{program} {version}"))
        .collect();
    writeln!(text, "{}.\n", versions.join(", ")).ok();
    *text += "Median (least–greatest) of the repetitions; less is better in every row. The ratio is handfast's figure \
              divided by the peer's of the same round; a tie is a difference inside the spread, or under 3 %.\n\n";
}

fn main(results: &Results) -> String {
    let mut rows = vec![vec![
        "workload".to_owned(),
        "unit".to_owned(),
        "handfast".to_owned(),
        "nginx".to_owned(),
        "HAProxy".to_owned(),
        "to nginx".to_owned(),
        "to HAProxy".to_owned(),
    ]];
    for row in &results.rows {
        let mut cells = vec![row.title.to_owned(), row.metric.unit().to_owned()];
        cells.extend(Peer::ALL.map(|peer| {
            if row.failure.is_some() {
                "FAILED".to_owned()
            } else {
                spread(row.summary(peer, |sample| sample.value))
            }
        }));
        cells.extend(RIVALS.map(|peer| row.ratio(peer).map_or_else(|| "-".to_owned(), ratio)));
        rows.push(cells);
    }
    table(&rows, 2)
}

fn details(results: &Results) -> String {
    let mut rows = vec![
        [
            "workload", "server", "per s", "p50 ms", "p99 ms", "CPU µs", "PSS MiB", "core 0",
            "core 1",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for row in &results.rows {
        for peer in Peer::ALL {
            if row.of(peer).is_empty() {
                continue;
            }
            let median = |figure: fn(&Sample) -> f64| row.summary(peer, figure).median;
            let moves = row.metric != Metric::MemoryKib;
            let if_moves = |text: String| if moves { text } else { "-".to_owned() };
            rows.push(vec![
                row.title.to_owned(),
                peer.name().to_owned(),
                if_moves(format!("{:.0}", median(|sample| sample.per_second))),
                if_moves(format!("{:.2}", median(|sample| sample.p50_us / 1e3))),
                if_moves(format!("{:.2}", median(|sample| sample.p99_us / 1e3))),
                if_moves(figure(median(|sample| sample.cpu_us))),
                format!("{:.1}", median(|sample| sample.memory_kib as f64 / 1024.0)),
                if_moves(percent(median(|sample| sample.proxy_core))),
                if_moves(percent(median(|sample| sample.load_core))),
            ]);
        }
    }
    table(&rows, 2)
}

fn counters(results: &Results) -> String {
    let mut rows = vec![
        [
            "workload",
            "client: full",
            "client: resumed",
            "handfast: full",
            "handfast: resumed",
            "tickets accepted",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for row in &results.rows {
        let samples = row.of(Peer::Handfast);
        let both = || {
            samples
                .iter()
                .filter_map(|sample| Some((sample.client.as_ref()?, sample.counters.as_ref()?)))
        };
        if both().next().is_none() {
            continue;
        }
        let sums = [
            both()
                .map(|(client, _)| client.full + client.retried)
                .sum::<u64>(),
            both().map(|(client, _)| client.resumed).sum(),
            both().map(|(_, own)| own.full).sum(),
            both().map(|(_, own)| own.resumed).sum(),
            both().map(|(_, own)| own.hits).sum(),
        ];
        let mut cells = vec![row.title.to_owned()];
        cells.extend(sums.map(|sum| sum.to_string()));
        rows.push(cells);
    }
    table(&rows, 1)
}

fn limits(results: &Results) -> String {
    let mut rows = vec![
        ["workload", "fastest", "per s", "load core", "limit per s"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in &results.rows {
        let own = row.pinned
            && row
                .of(Peer::Handfast)
                .iter()
                .any(|sample| sample.client.is_some());
        let rate = |peer| row.summary(peer, |sample| sample.per_second).median;
        let fastest = Peer::ALL
            .into_iter()
            .max_by(|a, b| rate(*a).total_cmp(&rate(*b)));
        let Some(fastest) = fastest.filter(|_| own) else {
            continue;
        };
        let busy = row.summary(fastest, |sample| sample.load_core).median;
        rows.push(vec![
            row.title.to_owned(),
            fastest.name().to_owned(),
            format!("{:.0}", rate(fastest)),
            percent(busy),
            format!("{:.0}", rate(fastest) / busy.max(0.01)),
        ]);
    }
    table(&rows, 2)
}

/// What the libraries need, and how much of a lead over nginx that is.
fn libraries(results: &Results, library: &Library) -> String {
    let mut rows = vec![
        [
            "handshake",
            "OpenSSL µs",
            "rustls µs",
            "difference µs",
            "nginx µs",
            "handfast µs",
            "lead µs",
            "of it the library",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for pair in &library.rows {
        let difference = pair.difference();
        let mut cells = vec![
            pair.title.to_owned(),
            spread(Summary::of(pair.openssl_us.iter().copied())),
            spread(Summary::of(pair.rustls_us.iter().copied())),
            signed_spread(difference),
        ];
        let servers = results.rows.iter().find(|row| row.name == pair.workload);
        let servers = servers.and_then(|row| Some((row, row.verdict(Peer::Nginx)?)));
        if let Some((row, verdict)) = servers {
            let median = |peer| row.summary(peer, |sample| sample.value).median;
            let (nginx, handfast) = (median(Peer::Nginx), median(Peer::Handfast));
            cells.extend([figure(nginx), figure(handfast)]);
            cells.push(format!("{:+.0}", nginx - handfast));
            cells.push(match verdict {
                Verdict::Ahead => percent(difference.median / (nginx - handfast)),
                Verdict::Tie => "tie".to_owned(),
                Verdict::Behind => "BEHIND".to_owned(),
            });
        } else {
            cells.extend(["-"; 4].map(str::to_owned));
        }
        rows.push(cells);
    }
    let Library {
        openssl,
        milliseconds,
        ..
    } = library;
    format!(
        "The libraries alone: CPU time of the server's side of one handshake over memory, {milliseconds} ms a repetition, with \
         OpenSSL {openssl}, which nginx and HAProxy use, and with rustls on aws-lc. The lead is what nginx needs for the whole \
         operation less what handfast does, from the table above:\n\n{}",
        table(&rows, 1),
    )
}

/// The rows where a peer needs less, plainly.
fn behind(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &results.rows {
        for peer in RIVALS {
            if let Some(Ratio {
                ratio,
                verdict: Verdict::Behind,
            }) = row.ratio(peer)
            {
                let (title, name) = (row.title, peer.name());
                lines.push(format!(
                    "{title}: handfast needs {:.2} of what {name} does",
                    ratio.median
                ));
            }
        }
    }
    if lines.is_empty() {
        let compared = |row: &&Row| RIVALS.iter().any(|peer| row.verdict(*peer).is_some());
        let compared = results.rows.iter().filter(compared).count();
        lines.push(format!("in none of the {compared} rows of this run"));
    }
    lines
}

fn remarks(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(failure) = results.library.as_ref().and_then(|it| it.failure.as_ref()) {
        lines.push(format!("OpenSSL and rustls: FAILED: {failure}"));
    }
    for row in &results.rows {
        if let Some(failure) = &row.failure {
            lines.push(format!("{}: FAILED: {failure}", row.title));
        }
        let remarks = row.remarks();
        lines.extend(
            remarks
                .iter()
                .map(|remark| format!("{}: {remark}", row.title)),
        );
    }
    lines
}

fn list(text: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    writeln!(text, "{title}:\n").ok();
    for line in lines {
        writeln!(text, "* {}", line.replace('\n', " ")).ok();
    }
    text.push('\n');
}

fn ratio(ratio: Ratio) -> String {
    let verdict = match ratio.verdict {
        Verdict::Ahead => "",
        Verdict::Tie => "tie ",
        Verdict::Behind => "BEHIND ",
    };
    let Summary { median, min, max } = ratio.ratio;
    format!("{verdict}{median:.2} ({min:.2}–{max:.2})")
}

fn spread(summary: Summary) -> String {
    let Summary { median, min, max } = summary;
    format!("{} ({}–{})", figure(median), figure(min), figure(max))
}

fn signed_spread(summary: Summary) -> String {
    let Summary { median, min, max } = summary;
    format!("{median:+.0} ({min:+.0} to {max:+.0})")
}

/// Three digits.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Columns from `right` on are right-aligned.
fn table(rows: &[Vec<String>], right: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column < right {
                write!(text, "| {cell:<width$} ").ok();
            } else {
                write!(text, "| {cell:>width$} ").ok();
            }
        }
        text += "|\n";
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(*width);
                write!(text, "| {line}{}", if column < right { " " } else { ":" }).ok();
            }
            text += "|\n";
        }
    }
    text
}
