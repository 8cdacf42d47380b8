//! What was measured, as a table and as JSON.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::cases::Case;
use crate::compare::{Limited, Measured, Took, Unit, median};

/// One case's line. What is compared is in `ours_s` and `peer_s`, in the unit that the line names: seconds, or bytes.
#[derive(Debug, Serialize)]
pub struct Row {
    case: &'static str,
    peer: &'static str,
    unit: Unit,
    /// Median seconds, or bytes.
    ours_s: f64,
    peer_s: f64,
    /// Median seconds of the processors, user and system.
    #[serde(skip_serializing_if = "Option::is_none")]
    ours_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_cpu_s: Option<f64>,
    ratio: f64,
    /// The least and the greatest ratio of a single round.
    rounds: [f64; 2],
    safe: f64,
    aim: f64,
}

impl Row {
    pub fn new(case: &Case, measured: &Measured) -> Self {
        match measured {
            Measured::Seconds(ours, peer) => Self::of_seconds(case, ours, peer),
            Measured::Bytes(ours, peer) => Self::of_bytes(case, *ours, *peer),
            Measured::Limited(limited) => Self::of_limited(case, limited),
            Measured::BytesWithin {
                ours,
                peer,
                safe,
                aim,
            } => Self {
                safe: quotient(*safe, *peer),
                aim: quotient(*aim, *peer),
                ..Self::of_bytes(case, *ours, *peer)
            },
        }
    }

    fn of_seconds(case: &Case, ours: &[Took], peer: &[Took]) -> Self {
        let wall = |side: &[Took]| median(&side.iter().map(|took| took.wall).collect::<Vec<_>>());
        let cpu = |side: &[Took]| median(&side.iter().map(|took| took.cpu).collect::<Vec<_>>());
        let each = ours.iter().zip(peer).map(|(ours, peer)| ours.wall / peer.wall);
        let least = each.clone().fold(f64::INFINITY, f64::min);
        let (ours_s, peer_s) = (wall(ours), wall(peer));
        Self {
            case: case.name,
            peer: case.peer,
            unit: Unit::S,
            ours_s,
            peer_s,
            ours_cpu_s: Some(cpu(ours)),
            peer_cpu_s: Some(cpu(peer)),
            ratio: ours_s / peer_s,
            rounds: [least, each.fold(0.0, f64::max)],
            safe: case.safe,
            aim: case.aim,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn of_bytes(case: &Case, ours: u64, peer: u64) -> Self {
        let ratio = quotient(ours, peer);
        Self {
            case: case.name,
            peer: case.peer,
            unit: Unit::Bytes,
            ours_s: ours as f64,
            peer_s: peer as f64,
            ours_cpu_s: None,
            peer_cpu_s: None,
            ratio,
            rounds: [ratio, ratio],
            safe: case.safe,
            aim: case.aim,
        }
    }

    fn of_limited(case: &Case, limited: &Limited) -> Self {
        let limit = limited.limit;
        Self {
            case: case.name,
            peer: case.peer,
            unit: limited.unit,
            ours_s: limited.ours,
            peer_s: limit,
            ours_cpu_s: None,
            peer_cpu_s: None,
            ratio: limited.ours / limit,
            rounds: limited.range.map(|value| value / limit),
            safe: case.safe,
            aim: case.aim,
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
        [self.ours_s, self.peer_s].map(|amount| match self.unit {
            Unit::S => format!("{amount:.3} s"),
            Unit::Bytes => format!("{:.2} MB", amount / 1e6),
            Unit::CpuMs => format!("{amount:.1} ms/s"),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn quotient(ours: u64, peer: u64) -> f64 {
    ours as f64 / peer as f64
}

/// A limit as it was set, or three digits of one that was computed.
fn limit(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, peer] = self.amounts();
        write!(
            f,
            "{ours} against {peer}: {:.3} (safe {}, aim {})",
            self.ratio,
            limit(self.safe),
            limit(self.aim)
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
            limit(row.safe),
            limit(row.aim),
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
