//! What was measured, as a table and as JSON.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::cases::Case;
use crate::compare::{Measured, Took, median};

/// One case's line.
#[derive(Debug, Serialize)]
pub struct Row {
    case: &'static str,
    peer: &'static str,
    /// Median seconds; none when bytes are compared.
    ours_s: Option<f64>,
    peer_s: Option<f64>,
    /// Median seconds of the processors, user and system.
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_bytes: Option<u64>,
    ratio: f64,
    /// The least and the greatest ratio of a single round.
    rounds: [f64; 2],
    safe: f64,
    aim: f64,
}

impl Row {
    pub fn new(case: &Case, measured: &Measured) -> Self {
        let row = |[ours_s, peer_s, ours_cpu_s, peer_cpu_s]: [Option<f64>; 4],
                   ours_bytes,
                   peer_bytes,
                   ratio,
                   rounds| Self {
            case: case.name,
            peer: case.peer,
            ours_s,
            peer_s,
            ours_cpu_s,
            peer_cpu_s,
            ours_bytes,
            peer_bytes,
            ratio,
            rounds,
            safe: case.safe,
            aim: case.aim,
        };
        match measured {
            Measured::Seconds(ours, peer) => {
                let wall = |side: &[Took]| side.iter().map(|took| took.wall).collect::<Vec<_>>();
                let cpu = |side: &[Took]| median(&side.iter().map(|took| took.cpu).collect::<Vec<_>>());
                let (ours_s, peer_s) = (median(&wall(ours)), median(&wall(peer)));
                let each = ours.iter().zip(peer).map(|(ours, peer)| ours.wall / peer.wall);
                let least = each.clone().fold(f64::INFINITY, f64::min);
                let rounds = [least, each.fold(0.0, f64::max)];
                let seconds = [ours_s, peer_s, cpu(ours), cpu(peer)].map(Some);
                row(seconds, None, None, ours_s / peer_s, rounds)
            }
            Measured::Bytes(ours, peer) => {
                #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
                let ratio = *ours as f64 / *peer as f64;
                row([None; 4], Some(*ours), Some(*peer), ratio, [ratio, ratio])
            }
        }
    }

    fn verdict(&self) -> &'static str {
        if self.ratio <= self.aim {
            "aim"
        } else if self.ratio <= self.safe {
            "safe"
        } else {
            "MISSED"
        }
    }

    fn cpu_ratio(&self) -> String {
        // Hundredths of seconds are counted: what took less than a tenth says nothing.
        match (self.ours_cpu_s, self.peer_cpu_s) {
            (Some(ours), Some(peer)) if peer >= 0.1 => format!("{:.2}", ours / peer),
            _ => "–".to_owned(),
        }
    }

    fn amounts(&self) -> [String; 2] {
        let seconds = |value: Option<f64>| value.map(|s| format!("{s:.3} s"));
        #[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
        let bytes = |value: Option<u64>| value.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        [
            seconds(self.ours_s)
                .or_else(|| bytes(self.ours_bytes))
                .unwrap_or_default(),
            seconds(self.peer_s)
                .or_else(|| bytes(self.peer_bytes))
                .unwrap_or_default(),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, peer] = self.amounts();
        write!(
            f,
            "{ours} against {peer}: {:.3} (safe {}, aim {})",
            self.ratio, self.safe, self.aim
        )
    }
}

/// The rows as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | against | ours | peer | ratio | rounds | cpu | safe | aim | holds |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let [ours, peer] = row.amounts();
        let [least, greatest] = row.rounds;
        // A pipe in a cell ends it.
        let against = row.peer.replace('|', "\\|");
        text.push_str(&format!(
            "| {} | {against} | {ours} | {peer} | {:.3} | {least:.2} to {greatest:.2} | {} | {} | {} | {} |\n",
            row.case,
            row.ratio,
            row.cpu_ratio(),
            row.safe,
            row.aim,
            row.verdict()
        ));
    }
    text
}

/// Writes the rows as JSON.
pub fn write(rows: &[Row], path: &Path) {
    let mut text = serde_json::to_string_pretty(rows).expect("rows are plain data");
    text.push('\n');
    let partial = path.with_extension("json.partial");
    let written = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path));
    written.unwrap_or_else(|err| panic!("cannot write {}: {err}", path.display()));
}
