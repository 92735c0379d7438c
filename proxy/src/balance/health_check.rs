//! What a row of active checks makes of an endpoint: a pure core, without a clock or a socket.

use std::time::Duration;

use outrigger_config::model::HealthCheck;

use super::Health;

/// A pause is longer or shorter by this share at most, so that the proxies of a mesh do not ask in step.
const JITTER: f64 = 0.1;

/// The checks of one endpoint so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    health: Health,
    /// Checks in a row that say otherwise.
    contrary: u32,
}

impl Course {
    /// Goes on where another one ended.
    pub(crate) fn from(health: Health) -> Self {
        Self { health, contrary: 0 }
    }

    /// Takes one check up; gives what the endpoint is after it. The first one decides alone.
    pub(crate) fn take(&mut self, passed: bool, check: &HealthCheck) -> Health {
        let (says, enough) = match passed {
            true => (Health::Healthy, check.healthy_after),
            false => (Health::Unhealthy, check.unhealthy_after),
        };
        self.contrary = if says == self.health { 0 } else { self.contrary + 1 };
        if self.health == Health::Unknown || self.contrary >= enough {
            *self = Self::from(says);
        }
        self.health
    }

    /// The pause before the next check; `chance` is between 0 and 1.
    pub(crate) fn pause(&self, check: &HealthCheck, chance: f64) -> Duration {
        let pause = if self.health == Health::Unhealthy { check.unhealthy_interval } else { check.interval };
        pause.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use outrigger_config::model::Check;

    use super::*;

    /// The states after each of these checks, as letters.
    fn course(from: Health, checks: &str) -> String {
        let check = HealthCheck::new(Check::Tcp);
        let mut course = Course::from(from);
        let state = |passed| match course.take(passed, &check) {
            Health::Healthy => 'h',
            Health::Unhealthy => 'u',
            Health::Unknown => '?',
        };
        checks.chars().map(|one| one == '+').map(state).collect()
    }

    #[test]
    fn the_first_check_decides_and_then_it_takes_some_in_a_row() {
        assert_eq!(course(Health::Unknown, "+"), "h");
        assert_eq!(course(Health::Unknown, "-"), "u");
        assert_eq!(course(Health::Healthy, "--+--+---"), "hhhhhhhhu");
        assert_eq!(course(Health::Unhealthy, "+-+-++"), "uuuuuh");
        assert_eq!(course(Health::Unknown, "---+-++---++"), "uuuuuuhhhuuh");
    }

    #[test]
    fn pauses_differ_by_a_tenth_and_by_health() {
        let check =
            HealthCheck { unhealthy_interval: Duration::from_secs(1), ..HealthCheck::new(Check::Tcp) };
        let pause = |health, chance| Course::from(health).pause(&check, chance).as_millis();
        assert_eq!(pause(Health::Healthy, 0.5), 5000);
        assert_eq!((pause(Health::Healthy, 0.0), pause(Health::Unknown, 1.0)), (4500, 5500));
        assert_eq!((pause(Health::Unhealthy, 0.0), pause(Health::Unhealthy, 1.0)), (900, 1100));
    }
}
