//! `decide_scale`: prints what a decision costs in a large policy; see `decide_scale.md`. Exits 1 when a promise is broken.

use std::{process::ExitCode, time::Duration};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A decision in the large policy may cost this much more than in the small one.
const RATIO: f64 = 1.10;
/// A reload of the large policy takes less than this.
const RELOAD: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<ExitCode> {
    let report = outrigger_benches::decide_scale::measure()?;
    println!("decision, 10 routes of 1 service            {:8.1} ns", report.small);
    println!("same requests, 10,000 routes, 1,000 services {:7.1} ns", report.large);
    println!("ratio                                       {:8.3}", report.ratio);
    println!("all 10,000 routes in random order           {:8.1} ns", report.spread);
    println!("read, check, compile 10,000 routes          {:8.0} ms", millis(report.compile));
    println!("snapshot, nothing shared                    {:8.0} ms", millis(report.build_all));
    println!("snapshot, one route changed                 {:8.0} ms", millis(report.build_one));
    let kept = report.ratio <= RATIO && report.compile + report.build_all < RELOAD;
    println!("{}", if kept { "both promises held" } else { "a promise is broken" });
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
