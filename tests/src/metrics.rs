//! Reading a Prometheus text page: the sum of a metric's samples that bear the given labels.
//!
//! Only what the tests ask for: no types, no timestamps, no exemplars.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::client;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric, with `_bucket`, `_sum` or `_count` where it is a histogram.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Fetches `/metrics` from an admin address.
    ///
    /// # Panics
    /// When the page is not served or not understood.
    pub async fn scrape(admin: SocketAddr) -> Self {
        let page = client::get(admin, "/metrics").await;
        assert_eq!(page.status, 200, "/metrics: {}", page.text());
        Self::parse(&page.text())
    }

    /// Reads a page.
    ///
    /// # Panics
    /// On a line that is not the Prometheus text format: that is a finding, too.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect() }
    }

    /// The sum of all samples of `name` whose labels include `labels`; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is a sample of `name` at all.
    pub fn has(&self, name: &str) -> bool {
        self.find(name, &[]).next().is_some()
    }

    /// The samples of `name` whose labels include `labels`.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        })
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) =
        line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in metrics line {line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("not a number in metrics line {line:?}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => {
            let inner =
                rest.strip_suffix('}').unwrap_or_else(|| panic!("open braces in metrics line {line:?}"));
            (name, read_labels(inner))
        }
    };
    Sample { name: name.to_owned(), labels, value }
}

/// `a="b",c="d\"e"`: values are quoted, with `\\`, `\"` and `\n` escaped.
fn read_labels(inner: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = inner.chars();
    loop {
        let key: String = rest.by_ref().take_while(|c| *c != '=').collect();
        if key.is_empty() || rest.next() != Some('"') {
            return labels;
        }
        let mut value = String::new();
        while let Some(c) = rest.next() {
            match c {
                '"' => break,
                '\\' => value.push(match rest.next() {
                    Some('n') => '\n',
                    Some(other) => other,
                    None => break,
                }),
                other => value.push(other),
            }
        }
        labels.insert(key.trim_start_matches(',').to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_the_labels_that_were_not_asked_for() {
        let page = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"p,q\"} 2\na{x=\"1\",y=\"\\\"r\"} 3\na{x=\"2\"} 4\nb 1e3\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("a", &[("x", "1")]), 5.0);
        assert_eq!(metrics.sum("a", &[]), 9.0);
        assert_eq!(metrics.sum("a", &[("y", "p,q")]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 1000.0);
        assert!(!metrics.has("c"));
    }
}
