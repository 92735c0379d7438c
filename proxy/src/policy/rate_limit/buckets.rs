//! Buckets by caller, at most [`MOST`] of them: a map without locks. Pure but for the keys of its hashes.
//!
//! A caller is known by 128 bits of a keyed hash: what a caller sends is not kept, however long it is, and nobody can
//! choose values that fall together. Buckets that are full again are forgotten from time to time; one is marked dead
//! before it is taken out, so no request is lost that another worker counts on it meanwhile. Beyond [`MOST`] all further
//! callers share one bucket.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use super::bucket::{Bucket, Rate, Verdict};

/// Callers that have a bucket of their own at one time.
pub(super) const MOST: usize = 10_000;

/// A caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u64; 2]);

/// The buckets of one limit.
#[derive(Debug)]
pub(super) struct Buckets {
    map: papaya::HashMap<Key, Bucket, foldhash::fast::RandomState>,
    /// Places that are taken; a place is taken before its bucket is put there.
    used: AtomicUsize,
    most: usize,
    rest: Bucket,
    hashes: [RandomState; 2],
}

/// Whose bucket has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The caller's.
    Caller,
    /// That of all callers for whom there was no place.
    Rest,
}

impl Buckets {
    /// No bucket yet, and room for `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            map: papaya::HashMap::with_hasher(foldhash::fast::RandomState::default()),
            used: AtomicUsize::new(0),
            most,
            rest: Bucket::default(),
            hashes: Default::default(),
        }
    }

    /// The caller with these values of a header.
    pub(super) fn by_values<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Key {
        let mut hashers = [self.hashes[0].build_hasher(), self.hashes[1].build_hasher()];
        for value in values {
            for hasher in &mut hashers {
                hasher.write_usize(value.len());
                hasher.write(value);
            }
        }
        Key(hashers.map(|hasher| hasher.finish()))
    }

    /// The caller at this address; an IPv4 address is the same one in either form.
    pub(super) fn by_address(&self, address: IpAddr) -> Key {
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
            IpAddr::V6(address) => u128::from(address),
        };
        Key([(bits >> 64) as u64, bits as u64])
    }

    /// Lets one request of the caller through if there is room.
    pub(super) fn take(&self, key: Key, rate: Rate, now: u64) -> (Verdict, Owner) {
        let map = self.map.pin();
        loop {
            let found = match map.get(&key) {
                Some(bucket) => bucket,
                None if !self.take_place() => {
                    let verdict = self.rest.take(rate, now);
                    return (verdict.expect("this bucket is never retired"), Owner::Rest);
                }
                None => match map.try_insert(key, Bucket::default()) {
                    Ok(bucket) => bucket,
                    Err(occupied) => {
                        self.used.fetch_sub(1, Relaxed);
                        occupied.current
                    }
                },
            };
            match found.take(rate, now) {
                Some(verdict) => return (verdict, Owner::Caller),
                None => self.remove(&map, &key),
            }
        }
    }

    /// How long a request of the caller would have to wait; `None`: not at all. Takes nothing.
    pub(super) fn wait(&self, key: Key, rate: Rate, now: u64) -> Option<Duration> {
        match self.map.pin().get(&key) {
            Some(bucket) => bucket.wait(rate, now),
            None if self.used.load(Relaxed) < self.most => None,
            None => self.rest.wait(rate, now),
        }
    }

    /// Forgets callers whose buckets are full again. `now` may be late: who reads the clock before another worker forgets
    /// would find a new bucket.
    pub(super) fn forget_idle(&self, now: u64) {
        let map = self.map.pin();
        for (key, bucket) in &map {
            if bucket.retire(now) {
                self.remove(&map, key);
            }
        }
    }

    /// Callers that have a bucket of their own.
    pub(super) fn callers(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn take_place(&self) -> bool {
        let free = |used: usize| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Relaxed, Relaxed, free).is_ok()
    }

    /// Takes a dead bucket out; whoever does it gives the place back.
    fn remove(
        &self,
        map: &papaya::HashMapRef<'_, Key, Bucket, foldhash::fast::RandomState, papaya::LocalGuard<'_>>,
        key: &Key,
    ) {
        if let Ok(Some(_)) = map.remove_if(key, |_, bucket| bucket.is_dead()) {
            self.used.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(buckets: &Buckets, name: &str) -> Key {
        buckets.by_values([name.as_bytes()].into_iter())
    }

    fn passes(buckets: &Buckets, name: &str, now: u64) -> (bool, Owner) {
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        let (verdict, owner) = buckets.take(key(buckets, name), rate, now);
        (matches!(verdict, Verdict::Allowed { .. }), owner)
    }

    #[test]
    fn callers_do_not_share_and_the_rest_does() {
        let buckets = Buckets::new(2);
        assert_eq!(passes(&buckets, "a", 0), (true, Owner::Caller));
        assert_eq!(passes(&buckets, "b", 0), (true, Owner::Caller));
        assert_eq!(passes(&buckets, "a", 0), (false, Owner::Caller));
        assert_eq!(passes(&buckets, "c", 0), (true, Owner::Rest));
        assert_eq!(passes(&buckets, "d", 0), (false, Owner::Rest), "one bucket for all of them");
        assert_eq!(buckets.callers(), 2);
        buckets.forget_idle(SECOND - 1);
        assert_eq!(buckets.callers(), 2, "nobody is forgotten who has something to pay");
        buckets.forget_idle(SECOND);
        assert_eq!((buckets.callers(), buckets.map.len()), (0, 0));
        assert_eq!(passes(&buckets, "d", SECOND), (true, Owner::Caller));
    }

    #[test]
    fn values_and_addresses_are_told_apart() {
        let buckets = Buckets::new(MOST);
        let of = |values: &[&str]| buckets.by_values(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        let at = |address: &str| buckets.by_address(address.parse().unwrap());
        assert_eq!(at("10.0.0.1"), at("::ffff:10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
        assert_ne!(at("fd00::1"), at("fd00::2"));
    }

    #[test]
    fn a_question_takes_nothing() {
        let buckets = Buckets::new(1);
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        let ask = |name: &str| buckets.wait(key(&buckets, name), rate, 0);
        assert_eq!((ask("a"), buckets.callers()), (None, 0));
        passes(&buckets, "a", 0);
        assert_eq!(ask("a"), Some(Duration::from_secs(1)));
        assert_eq!(ask("b"), None);
        passes(&buckets, "b", 0);
        assert_eq!(ask("c"), Some(Duration::from_secs(1)), "the rest shares one");
    }

    /// Workers count while idle buckets are forgotten all the time: each place is given back once.
    #[test]
    fn places_are_given_back_exactly_once() {
        let buckets = Buckets::new(4);
        let rate = Rate::new(1000, Duration::from_secs(1), 1);
        let clock = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (buckets, clock) = (&buckets, &clock);
                scope.spawn(move || {
                    for step in 0..20_000 {
                        let now = clock.fetch_add(1000, Relaxed);
                        let name = ["a", "b", "c", "d", "e", "f"][(step / 10 + worker) % 6];
                        buckets.take(key(buckets, name), rate, now);
                        assert!(buckets.callers() <= 4);
                    }
                });
            }
            for _ in 0..2_000 {
                buckets.forget_idle(clock.load(Relaxed));
            }
        });
        assert_eq!(buckets.callers(), buckets.map.len());
        buckets.forget_idle(u64::MAX / 2);
        assert_eq!((buckets.callers(), buckets.map.len()), (0, 0));
    }
}
