//! The benchmarks: each case of shipit beside its peer, in one run, on inputs that are made here.
//!
//! `make bench` runs them all; `make bench CASES="export apply"` those whose names hold one of the words. They print a
//! table and write `target/bench/report.json`. What the figures mean stands in `docs/performance.md`.
//!
//! Not done here: no figure is asserted, for a busy machine would fail an honest program. What a case says of its own
//! input (its least size, that both sides did the same work) is.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark is test code: it reads the environment, prints, and what fails ends it"
)]

mod cases;
mod compare;
mod inputs;
mod report;
mod run;
mod worker;

use std::path::Path;
use std::time::Instant;

use inputs::Inputs;

fn main() {
    // cargo adds `--bench`; a flag of the test harness that this is not changes nothing here.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if words.first().is_some_and(|word| word == worker::FLAG) {
        worker::main(&words[1..]);
        return;
    }
    let started = Instant::now();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's temporary directory lies in its target directory");
    let out = target.join("bench");
    std::fs::create_dir_all(&out).unwrap_or_else(|err| panic!("cannot make {}: {err}", out.display()));
    let inputs = Inputs::new(&out);
    let mut rows = Vec::new();
    for case in cases::all() {
        if !words.is_empty() && !words.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        eprintln!("{} …", case.name);
        let row = report::Row::new(&case, &(case.measure)(&inputs));
        eprintln!("  {row}");
        rows.push(row);
    }
    assert!(
        !rows.is_empty(),
        "no case has one of these words in its name: {words:?}"
    );
    let report = out.join("report.json");
    report::write(&rows, &report);
    println!("{}", report::table(&rows));
    println!("{}", inputs.summary());
    eprintln!("the report is {}", report.display());
    // The inputs go last, here: what creates files right after a large removal pays for it.
    inputs.remove();
    eprintln!("done in {:.0} s", started.elapsed().as_secs_f64());
}
