//! The sections on faults that are made on purpose, and on what stands in for an answer.

use super::{
    super::{report::FaultShare, summary::percent},
    Page, Report,
};

impl Page {
    pub(super) fn fault(&mut self, report: &Report) {
        let Some(fault) = &report.fault else { return };
        let mut lines = Vec::new();
        let shares = [("delay", &fault.delay), ("abort", &fault.abort)];
        let shares = shares.into_iter().filter_map(|(word, share)| Some((word, share.as_ref()?)));
        lines.extend(shares.map(|(word, share)| self.fault_share(word, share)));
        if let Some((header, longest)) = fault.header.as_ref().zip(fault.max_delay.as_ref()) {
            let [name, longest] = [header, longest].map(|one| one.value.as_deref().unwrap_or_default());
            let source = self.source(header);
            lines
                .push(format!("header      {name}: asks for one, with a delay of {longest} at most{source}"));
        }
        lines.extend(fault.asked.iter().map(|what| format!("            this request asks for {what}")));
        self.section("fault", &lines);
    }

    /// What it gets that its Service does not answer.
    pub(super) fn fallback(&mut self, report: &Report) {
        let Some(fallback) = &report.fallback else { return };
        let what = fallback.value.as_deref().unwrap_or_default();
        let line = format!("{what}{}", self.source(fallback));
        self.section("fallback", &[line]);
    }

    fn fault_share(&self, word: &str, share: &FaultShare) -> String {
        let hit = match share.hit {
            None => "",
            Some(true) => ", this one too",
            Some(false) => ", not this one",
        };
        let what = share.what.value.as_deref().unwrap_or_default();
        let part = percent(share.percent.value.unwrap_or_default());
        format!("{word:11} {what} for {part} of the requests{hit}{}", self.source(&share.what))
    }
}
