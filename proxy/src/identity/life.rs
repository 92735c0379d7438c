//! How much of a certificate's life is left, by the clock on the wall. No clock in here.

use std::time::{Duration, SystemTime};

use super::Svid;

/// How far a certificate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// More than a quarter is left, which is when others are issued.
    Fresh,
    /// A quarter or less is left.
    Quarter,
    /// A tenth or less is left.
    Tenth,
    /// Nothing is left.
    Expired,
}

impl Stage {
    /// Where a certificate stands, and how long it does so.
    pub(super) fn of(svid: &Svid, now: SystemTime) -> (Self, Option<Duration>) {
        let life = svid.not_after().duration_since(svid.not_before()).unwrap_or(Duration::ZERO);
        // Past its last moment a certificate is refused, not at it.
        let left = match svid.not_after().duration_since(now) {
            Ok(left) => left,
            Err(_) => return (Self::Expired, None),
        };
        let until = |share: Duration| Some(left.saturating_sub(share) + Duration::from_millis(1));
        if left <= life / 10 {
            (Self::Tenth, until(Duration::ZERO))
        } else if left <= life / 4 {
            (Self::Quarter, until(life / 10))
        } else {
            (Self::Fresh, until(life / 4))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::forge, *};

    #[test]
    fn a_life_has_four_stages() {
        let authority = forge::Authority::new("root");
        let mut params = forge::leaf(&["spiffe://mesh.test/a"]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1) + Duration::from_secs(1000);
        let svid = Svid::parse(&authority.sign(&params).0).unwrap();
        let stage = |seconds| Stage::of(&svid, svid.not_before() + Duration::from_secs(seconds));
        let soon = |seconds| Some(Duration::from_secs(seconds) + Duration::from_millis(1));
        assert_eq!(stage(0), (Stage::Fresh, soon(750)));
        assert_eq!(stage(749), (Stage::Fresh, soon(1)));
        assert_eq!(stage(750), (Stage::Quarter, soon(150)));
        assert_eq!(stage(900), (Stage::Tenth, soon(100)));
        assert_eq!(stage(1000), (Stage::Tenth, soon(0)), "its last moment");
        assert_eq!(stage(1001), (Stage::Expired, None));
        let early = Stage::of(&svid, svid.not_before() - Duration::from_secs(60));
        assert_eq!(early, (Stage::Fresh, soon(810)), "clocks differ");
    }
}
