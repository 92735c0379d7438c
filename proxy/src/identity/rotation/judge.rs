//! Whether what a source has is taken, waited for or refused. No clock and no files in here.

use std::time::Duration;

use tokio::time::Instant;

/// Certificate and key do not change in one moment: what does not fit together is given this long to do so, in silence.
const IN_BETWEEN: Duration = Duration::from_secs(1);

/// What to do about what a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in use, or was refused before.
    Nothing,
    /// It is in use again, after something that was refused.
    TakenBack,
    /// It may be on its way to something better: look again then.
    Wait(Instant),
    /// It is whole.
    Take,
    /// It is of no use, and stays so.
    Refuse,
}

/// Remembers what was judged, so that nothing is taken or refused twice.
#[derive(Debug)]
pub(super) struct Judge {
    in_use: u64,
    refused: Option<u64>,
    unfit_since: Option<Instant>,
}

impl Judge {
    /// Begins with what has this signature.
    pub(super) fn new(in_use: u64) -> Self {
        Self { in_use, refused: None, unfit_since: None }
    }

    /// The signature of what is in use.
    pub(super) fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Judges what the source has.
    pub(super) fn judge(&mut self, signature: u64, is_whole: bool, now: Instant) -> Verdict {
        if signature == self.in_use {
            self.unfit_since = None;
            return if self.refused.take().is_some() { Verdict::TakenBack } else { Verdict::Nothing };
        }
        // Also what was refused before: a certificate may have been of tomorrow.
        if is_whole {
            *self = Self::new(signature);
            return Verdict::Take;
        }
        if self.refused == Some(signature) {
            return Verdict::Nothing;
        }
        let until = *self.unfit_since.get_or_insert(now) + IN_BETWEEN;
        if now < until {
            return Verdict::Wait(until);
        }
        self.unfit_since = None;
        self.refused = Some(signature);
        Verdict::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_taken_and_the_rest_is_waited_for_and_then_refused_once() {
        let mut judge = Judge::new(1);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let end = start + IN_BETWEEN;
        for (when, signature, is_whole, verdict) in [
            (0, 1, true, Verdict::Nothing),
            // A certificate, then its key.
            (0, 2, false, Verdict::Wait(end)),
            (10, 3, true, Verdict::Take),
            (10, 3, true, Verdict::Nothing),
            // Nothing follows, or nothing good.
            (0, 4, false, Verdict::Wait(end)),
            (500, 5, false, Verdict::Wait(end)),
            (1000, 5, false, Verdict::Refuse),
            (1100, 5, false, Verdict::Nothing),
            (2000, 6, false, Verdict::Wait(at(3000))),
            // What was refused has come of age.
            (2500, 5, true, Verdict::Take),
            (2500, 4, false, Verdict::Wait(at(3500))),
            (3500, 4, false, Verdict::Refuse),
            (3600, 5, true, Verdict::TakenBack),
            (3700, 5, true, Verdict::Nothing),
            // Half of it, and back.
            (4000, 7, false, Verdict::Wait(at(5000))),
            (4100, 5, true, Verdict::Nothing),
            (6000, 7, false, Verdict::Wait(at(7000))),
        ] {
            assert_eq!(judge.judge(signature, is_whole, at(when)), verdict, "{signature} after {when} ms");
        }
    }
}
