//! How an endpoint that comes into use gets to its share: evenly, from a tenth of its weight to all of it.
//!
//! Pure: time since it came into use in, percent out. The cell publishes its endpoints anew at every step, so a request reads a
//! weight as ever. Envoy's formula with an aggression of 1 and a least weight of 10 percent.

use std::time::Duration;

/// Percent of the weight with which an endpoint begins.
const LEAST: u32 = 10;
/// Steps of a window.
const STEPS: u32 = 20;
/// A window is not cut into shorter steps than this.
const SHORTEST: Duration = Duration::from_millis(10);

/// Percent of its weight that an endpoint has, so long after it came into use.
pub(super) fn percent(since: Duration, window: Duration) -> u32 {
    if since >= window {
        return 100;
    }
    let part = since.as_secs_f64() / window.as_secs_f64();
    ((part * 100.0) as u32).clamp(LEAST, 100)
}

/// How long a step lasts.
pub(super) fn step(window: Duration) -> Duration {
    (window / STEPS).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_all() {
        let window = Duration::from_secs(30);
        let at = |seconds| percent(Duration::from_secs(seconds), window);
        assert_eq!([0, 3, 6, 15, 29, 30, 31].map(at), [10, 10, 20, 50, 96, 100, 100]);
        assert_eq!(percent(Duration::ZERO, Duration::ZERO), 100);
        assert_eq!((step(window), step(Duration::from_millis(1))), (Duration::from_millis(1500), SHORTEST));
    }
}
