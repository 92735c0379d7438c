//! `grpc-timeout`: at most eight digits and a unit, as the gRPC protocol over HTTP/2 defines it.
//!
//! A deadline that cannot be read is no deadline for the call to run without: the request is refused by whoever asks.

use std::time::Duration;

use http::HeaderValue;

/// The longest number that the protocol allows.
const MAX_VALUE: u64 = 99_999_999;

/// A `grpc-timeout` that is not a number of one to eight digits and a unit `H`, `M`, `S`, `m`, `u` or `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is not one to eight digits and one of H, M, S, m, u, n")]
pub struct InvalidTimeout;

/// Reads a `grpc-timeout` value. Eight digits of any unit fit a [`Duration`], and zero is a deadline that has passed.
pub fn parse_grpc(value: &[u8]) -> Result<Duration, InvalidTimeout> {
    let (&unit, digits) = value.split_last().ok_or(InvalidTimeout)?;
    if digits.is_empty() || digits.len() > 8 {
        return Err(InvalidTimeout);
    }
    let mut number = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(InvalidTimeout);
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(InvalidTimeout),
    }
}

/// Writes `timeout` in the finest unit that fits eight digits, rounded down: what is left is never overstated, but a
/// deadline that has not passed is never written as zero.
pub fn format_grpc(timeout: Duration) -> HeaderValue {
    let (number, unit) = if timeout.as_nanos() <= u128::from(MAX_VALUE) {
        (timeout.as_nanos(), b'n')
    } else if timeout.as_micros() <= u128::from(MAX_VALUE) {
        (timeout.as_micros(), b'u')
    } else if timeout.as_millis() <= u128::from(MAX_VALUE) {
        (timeout.as_millis(), b'm')
    } else if timeout.as_secs() <= MAX_VALUE {
        (u128::from(timeout.as_secs()), b'S')
    } else if timeout.as_secs() / 60 <= MAX_VALUE {
        (u128::from(timeout.as_secs() / 60), b'M')
    } else {
        (u128::from((timeout.as_secs() / 3600).min(MAX_VALUE)), b'H')
    };
    let mut text = [0u8; 9];
    let mut start = text.len() - 1;
    text[start] = unit;
    let mut left = number;
    loop {
        start -= 1;
        text[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 || start == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[start..]).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse_grpc(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in ["", "S", "1", "1s", "1h", "123456789S", "-1S", "+1S", " 1S", "1S ", "1.5S", "1SS", "١S"]
        {
            assert_eq!(parse_grpc(text.as_bytes()), Err(InvalidTimeout), "{text:?}");
        }
    }

    #[test]
    fn finest_unit_that_fits() {
        for (timeout, expected) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(10), "10000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::from_secs(1_000_000), "1000000S"),
            (Duration::from_secs(1_000_000_000), "16666666M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format_grpc(timeout), expected, "{timeout:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_grpc(&value);
        }

        #[test]
        fn written_is_read_back_and_never_more(secs in 0u64..10_000_000_000, nanos in 0u32..1_000_000_000) {
            let timeout = Duration::new(secs, nanos);
            let read = parse_grpc(format_grpc(timeout).as_bytes()).unwrap();
            prop_assert!(read <= timeout);
            prop_assert!(timeout.is_zero() || !read.is_zero());
            prop_assert!((timeout - read).as_nanos() * 100_000 <= timeout.as_nanos());
        }
    }
}
