//! What the demo shows: a picture of the moment for a terminal, a line a second elsewhere, and the summary.
//!
//! Values in, lines of at most 80 columns out.

use std::{path::PathBuf, time::Duration};

use super::{
    act::Act,
    ledger::{Recent, Split},
    promise::Verdict,
    scrape::Counted,
};

/// Everything that is shown of one moment.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) elapsed: Duration,
    pub(super) rate: u32,
    pub(super) sidecars: usize,
    pub(super) act: Act,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) recent: Recent,
    pub(super) total: Counted,
    pub(super) generation: u64,
    pub(super) weights: Option<(u32, u32)>,
    pub(super) messages: u64,
    pub(super) stream_ended: Option<String>,
    pub(super) policy: PathBuf,
    pub(super) keys: bool,
}

impl Frame {
    fn success(&self) -> f64 {
        match self.requests {
            0 => 100.0,
            requests => (requests - self.failed) as f64 * 100.0 / requests as f64,
        }
    }
}

/// Whether lines may have colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Colour,
    Plain,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self {
            Paint::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Paint::Plain => text.to_owned(),
        }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }
}

/// The picture of the mesh.
const PICTURE: [&str; 5] = [
    "                           ┌─▶ reviews v1  (2 replicas) ─┐",
    "  you ──▶ frontend ──HTTP──┤                             ├──gRPC──▶ ratings",
    "                           └─▶ reviews v2  (2 replicas) ─┘       (2 replicas)",
    "",
    "  Each replica has a sidecar, and every arrow goes through both of its ends.",
];

/// The live picture.
pub(super) fn picture(frame: &Frame, paint: Paint) -> Vec<String> {
    let heading = format!("Outrigger demo   {} sidecars, {} requests/s", frame.sidecars, frame.rate);
    let mut lines =
        vec![paint.bold(&format!("{heading:<68}{:>8} s", frame.elapsed.as_secs())), String::new()];
    lines.extend(PICTURE.iter().map(|line| paint.dim(line)));
    lines.push(String::new());
    let success = format!("{:.2} %", frame.success());
    let success = if frame.failed == 0 { paint.good(&success) } else { paint.bad(&success) };
    lines.push(format!("  success   {success}   {} requests, {} failed", frame.requests, frame.failed));
    let Recent { p50, p99, split } = frame.recent;
    lines.push(format!("  latency   p50 {}, p99 {}   of the last 5 s", time(p50), time(p99)));
    let Counted { retries, fell_back, .. } = frame.total;
    lines.push(format!(
        "  retries   {retries} attempts repeated, {fell_back} requests answered by a fallback"
    ));
    lines.push(format!("  split     {}", bar(split, frame.weights)));
    lines.push(format!("  stream    {}", stream(frame, paint)));
    lines.push(format!(
        "  policy    generation {} in use, {} bad edits refused",
        frame.generation, frame.total.rejections
    ));
    lines.push(String::new());
    lines.extend(paragraph("  now       ", frame.act.happens()));
    lines.extend(paragraph("  look at   ", frame.act.look_at()));
    lines.push(String::new());
    lines.push(format!("  files     {}   (edit it!)", frame.policy.display()));
    if frame.keys {
        let key = |act: &Act| format!("{} {}", paint.bold(&char::from(act.key()).to_string()), act.name());
        let keys: Vec<String> = Act::ALL.iter().map(key).collect();
        let (first, second) = keys.split_at(5);
        lines.push(format!("  keys      {}", first.join("   ")));
        lines.push(format!("            {}   {} quit and sum up", second.join("   "), paint.bold("q")));
    }
    lines
}

/// A heading and text beside it, wrapped at 80 columns.
fn paragraph(heading: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(heading.len());
    let mut lines = vec![heading.to_owned()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is the heading's line");
        if last.len() + word.len() > 79 {
            lines.push(format!("{indent}{word}"));
        } else {
            if !last.ends_with(' ') {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// One line for a log.
pub(super) fn line(frame: &Frame) -> String {
    let share = frame.recent.split.share().map_or(0.0, |share| share * 100.0);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!(
        "{:>5} s {:>7.2} % ok {:>4} failed  p50 {:>4.0} p99 {:>4.0} ms {:>5} retries  v1 {share:>3.0} %",
        frame.elapsed.as_secs(),
        frame.success(),
        frame.failed,
        ms(frame.recent.p50),
        ms(frame.recent.p99),
        frame.total.retries,
    )
}

/// The announcement of an act, for a log.
pub(super) fn act(act: Act) -> Vec<String> {
    vec![String::new(), format!("-- {}", act.happens()), format!("   {}", act.look_at())]
}

/// What the sidecars counted, and what became of the promises.
pub(super) fn summary(sidecars: &[(&str, Counted)], verdicts: &[Verdict], paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.bold("What the sidecars counted (their own /metrics)")];
    lines.push(format!(
        "  {:<14}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}",
        "sidecar", "inbound", "outbound", "failed", "retries", "policy", "refused"
    ));
    for (name, counted) in sidecars {
        lines.push(format!(
            "  {name:<14}{:>9}{:>10}{:>10}{:>9}{:>9}{:>9}",
            counted.inbound,
            counted.outbound,
            counted.outbound_errors,
            counted.retries,
            counted.generation,
            counted.rejections
        ));
    }
    lines.push(String::new());
    lines.push(paint.bold("What was promised"));
    for Verdict { name, promise, broken } in verdicts {
        match broken {
            None => lines.push(format!("  {}    {name:<10}{promise}", paint.good("held"))),
            Some(why) => {
                lines.push(format!("  {}  {name:<10}{promise}", paint.bad("BROKEN")));
                lines.push(format!("                    {why}"));
            }
        }
    }
    lines
}

fn stream(frame: &Frame, paint: Paint) -> String {
    match &frame.stream_ended {
        None => format!("one gRPC stream open since the start, {} messages", frame.messages),
        Some(why) => paint.bad(&format!("the gRPC stream ended: {why}")),
    }
}

/// `v1  88 % ##################..   v2  12 %   policy 90 : 10`
fn bar(split: Split, weights: Option<(u32, u32)>) -> String {
    const WIDTH: usize = 20;
    let share = split.share().unwrap_or(0.0);
    let filled = (share * WIDTH as f64).round() as usize;
    let weights = weights.map_or("policy: none found".to_owned(), |(v1, v2)| format!("policy {v1} : {v2}"));
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled));
    format!("v1 {:>3.0} % {bar} v2 {:>3.0} %   {weights}", share * 100.0, (1.0 - share) * 100.0)
}

fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            elapsed: Duration::from_secs(100_000),
            rate: 10_000,
            sidecars: 7,
            act: Act::Kill,
            requests: 10_000_000,
            failed: 1_000_000,
            recent: Recent {
                p50: Duration::from_micros(1234),
                p99: Duration::from_secs(10),
                split: Split { v1: 90, v2: 10 },
            },
            total: Counted { retries: 1_000_000, rejections: 3, ..Counted::default() },
            generation: 1000,
            weights: Some((1000, 1000)),
            messages: 1_000_000,
            stream_ended: None,
            policy: "/tmp/outrigger-demo-abcdef/mesh.yaml".into(),
            keys: true,
        }
    }

    #[test]
    fn fits_into_80_columns() {
        let verdicts = super::super::promise::judge(&Default::default());
        let summary = summary(&[("reviews-v1-a", frame().total)], &verdicts, Paint::Plain);
        let pictures = Act::ALL.iter().flat_map(|act| picture(&Frame { act: *act, ..frame() }, Paint::Plain));
        let long = Frame { failed: 9999, total: Counted { retries: 99_999, ..frame().total }, ..frame() };
        for line in
            pictures.chain(summary).chain([line(&Frame { elapsed: Duration::from_secs(86_400), ..long })])
        {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
        assert!(picture(&frame(), Paint::Plain).len() <= 24, "a terminal has 24 lines");
    }

    #[test]
    fn plain_has_no_escape() {
        let lines = picture(&frame(), Paint::Plain);
        assert!(lines.iter().chain([&line(&frame())]).all(|line| !line.contains('\x1b')));
    }
}
