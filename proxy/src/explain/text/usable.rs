//! Which endpoints requests may go to, beneath their backend.

use super::{
    super::report::{Part, Share},
    Page,
};

impl Page {
    pub(super) fn usable(&self, share: &Share) -> Vec<String> {
        let Some(usable) = &share.usable else { return Vec::new() };
        let mut lines = self.parts("outlierDetection:", &usable.outlier_detection);
        lines.extend(self.parts("healthCheck:", &usable.health_check));
        let percent = usable.panic_below.value.as_deref().unwrap_or_default();
        lines.push(match percent {
            "0" => format!("what is left out is never used{}", self.source(&usable.panic_below)),
            _ => {
                format!("all are used with fewer than {percent} % usable{}", self.source(&usable.panic_below))
            }
        });
        lines
    }

    /// One line for each place that says something.
    fn parts(&self, word: &str, parts: &[Part]) -> Vec<String> {
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for Part { name, setting } in parts {
            let said = match (&setting.value, *name) {
                (Some(value), "check") => value.clone(),
                (Some(value), name) => format!("{name} {value}"),
                (None, name) => format!("{name} off"),
            };
            let source = self.source(setting);
            match lines.iter_mut().find(|(known, _)| *known == source) {
                Some((_, line)) => line.push(said),
                None => lines.push((source, vec![said])),
            }
        }
        lines.into_iter().map(|(source, said)| format!("{word} {}{source}", said.join(", "))).collect()
    }
}
