//! Numbers out of a sidecar's `/metrics` page.

use std::ops::AddAssign;

/// What the demo reads of one sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// Requests to the app behind the sidecar that have ended.
    pub(super) inbound: u64,
    /// Requests of the app.
    pub(super) outbound: u64,
    /// Those of the app's requests that ended with a 5xx.
    pub(super) outbound_errors: u64,
    /// Attempts after a request's first.
    pub(super) retries: u64,
    /// Circuit breakers that have opened.
    pub(super) opened: u64,
    /// Requests that another Service has answered.
    pub(super) fell_back: u64,
    /// Circuit breakers that are not closed now.
    pub(super) open: u64,
    /// The policy in use.
    pub(super) generation: u64,
    /// Policy changes refused.
    pub(super) rejections: u64,
}

impl Counted {
    /// Reads a page in the Prometheus text format. What it does not have counts 0.
    pub(super) fn read(page: &str) -> Self {
        let mut counted = Self::default();
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Ok(value) = value.parse::<f64>() else { continue };
            // Counters are whole numbers far below 2^53.
            let value = value as u64;
            match name {
                "outrigger_requests_total" if labels.contains("side=\"inbound\"") => counted.inbound += value,
                "outrigger_requests_total" => {
                    counted.outbound += value;
                    counted.outbound_errors += if labels.contains("code=\"5") { value } else { 0 };
                }
                "outrigger_retries_total" => counted.retries += value,
                "outrigger_circuit_breaker_changes_total" if labels.contains("to=\"open\"") => {
                    counted.opened += value;
                }
                "outrigger_circuit_breaker_state" => counted.open += u64::from(value > 0),
                "outrigger_fallbacks_total" if labels.contains("kind=\"service\"") => {
                    counted.fell_back += value;
                }
                "outrigger_config_generation" => counted.generation = value,
                "outrigger_config_rejections_total" => counted.rejections = value,
                _ => {}
            }
        }
        counted
    }
}

impl AddAssign for Counted {
    /// Adds the counters up; what is no counter is the newer one's.
    fn add_assign(&mut self, newer: Self) {
        self.inbound += newer.inbound;
        self.outbound += newer.outbound;
        self.outbound_errors += newer.outbound_errors;
        self.retries += newer.retries;
        self.rejections += newer.rejections;
        self.opened += newer.opened;
        self.fell_back += newer.fell_back;
        self.open = newer.open;
        self.generation = newer.generation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_needs() {
        let page = "# TYPE outrigger_requests_total counter\n\
            outrigger_requests_total{side=\"inbound\",code=\"200\"} 5\n\
            outrigger_requests_total{side=\"outbound\",code=\"200\"} 7\n\
            outrigger_requests_total{side=\"outbound\",code=\"503\"} 2\n\
            outrigger_retries_total{service=\"a\",reason=\"reset\"} 3\n\
            outrigger_circuit_breaker_changes_total{service=\"a\",to=\"open\"} 2\n\
            outrigger_circuit_breaker_changes_total{service=\"a\",to=\"closed\"} 1\n\
            outrigger_circuit_breaker_state{service=\"a\"} 1\n\
            outrigger_circuit_breaker_state{service=\"b\"} 0\n\
            outrigger_fallbacks_total{service=\"a\",kind=\"service\"} 6\n\
            outrigger_fallbacks_total{service=\"a\",kind=\"none\"} 9\n\
            outrigger_config_generation 4\n";
        let counted = Counted::read(page);
        let expected = Counted {
            inbound: 5,
            outbound: 9,
            outbound_errors: 2,
            retries: 3,
            opened: 2,
            fell_back: 6,
            open: 1,
            generation: 4,
            ..Counted::default()
        };
        assert_eq!(counted, expected);
    }
}
