//! Repeats of a request as text: what the law says of each way to fail.

use super::{
    super::report::{Report, RetryCase, Setting},
    Page,
};

impl Page {
    pub(super) fn retry(&mut self, report: &Report) {
        let Some(retry) = &report.retry else { return };
        let number = retry.attempts.value.unwrap_or_default();
        let mut lines = vec![
            format!("{} {}: {}", report.request.method, repeated(retry.repeatable), retry.why),
            format!("attempts {number:<3}{}", self.source(&retry.attempts)),
        ];
        let on = retry.on.value.as_deref().unwrap_or_default().join(", ");
        lines.push(format!("on       {on}{}", self.source(&retry.on)));
        lines.extend(self.cases(&retry.cases));
        let text = |setting: &Setting<String>| setting.value.clone().unwrap_or_default();
        lines.push(format!("pause    {}{}", text(&retry.backoff), self.source(&retry.backoff)));
        lines.push(format!("budget   {}{}", text(&retry.budget), self.source(&retry.budget)));
        self.section("retry", &lines);
    }

    /// Ways to fail that come to the same, on one line.
    fn cases(&self, cases: &[RetryCase]) -> Vec<String> {
        let mut grouped: Vec<(&RetryCase, Vec<&str>)> = Vec::new();
        for case in cases {
            let same = |one: &&mut (&RetryCase, Vec<&str>)| {
                (one.0.repeats, one.0.free, &one.0.why_not) == (case.repeats, case.free, &case.why_not)
            };
            match grouped.iter_mut().find(same) {
                Some((_, whens)) => whens.push(&case.when),
                None => grouped.push((case, vec![&case.when])),
            }
        }
        let told = grouped.into_iter().map(|(case, whens)| {
            let times = match case.repeats {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            };
            let verdict = match (&case.why_not, case.free) {
                (Some(why_not), _) => format!("{} not repeated, {why_not}", self.paint("31", "-")),
                (None, true) => {
                    format!("{} repeated {times} at most, outside the budget", self.paint("32", "+"))
                }
                (None, false) => format!("{} repeated {times} at most", self.paint("32", "+")),
            };
            format!("{verdict}: {}", joined(&whens))
        });
        told.collect()
    }
}

/// Ways to fail in a row; those that begin alike (`status 502`, `status 503`) say it once.
fn joined(whens: &[&str]) -> String {
    let mut out = String::new();
    let mut before = "";
    for when in whens {
        let (start, end) = when.rsplit_once(' ').unwrap_or(("", when));
        let alike = start == before && end.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(match (out.is_empty(), alike) {
            (true, _) => "",
            (false, true) => ", ",
            (false, false) => "; ",
        });
        out.push_str(if alike { end } else { when });
        before = start;
    }
    out
}

fn repeated(repeatable: bool) -> &'static str {
    if repeatable { "may be repeated" } else { "is not repeated once it may have started" }
}
