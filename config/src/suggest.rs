//! Did-you-mean: the nearest of the words that would have been right.

/// The candidate nearest to what was written, if it is near enough to be meant: a third of its letters may differ,
/// letter case and swapped neighbours count little.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(written);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

/// `did you mean ...?`, or the list of what is allowed.
pub(crate) fn help(written: &str, candidates: &[&str]) -> Option<String> {
    if let Some(near) = nearest(written, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if candidates.is_empty() {
        return None;
    }
    Some(format!("allowed: {}", list(candidates)))
}

/// The words in a row: `a`, `b`, `c`.
pub(crate) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn fold(word: &str) -> Vec<char> {
    // Names are short; what is longer is not a slip of the finger.
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).take(64).collect()
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost 1.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_does_not() {
        let words = ["timeouts", "retry", "loadBalancer"];
        assert_eq!(nearest("timeout", words), Some("timeouts"));
        assert_eq!(nearest("retyr", words), Some("retry"));
        assert_eq!(nearest("load_balancer", words), Some("loadBalancer"));
        assert_eq!(nearest("LOADBALANCER", words), Some("loadBalancer"));
        assert_eq!(nearest("hedge", words), None);
        assert_eq!(help("x", &["a1b2c3"]).as_deref(), Some("allowed: `a1b2c3`"));
    }
}
