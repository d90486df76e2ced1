//! Whether a connection moves bytes fast enough to be kept. What is done about one that does not is up to
//! whoever uses it.

use std::time::Duration;

/// A connection that moves fewer bytes than this a second is as good as stalled.
const LEAST: u64 = 1 << 10;
/// How many stall times long that is watched.
const STALLS: u32 = 4;

/// The bytes of one connection, counted over the time in which it was waited for.
#[derive(Debug)]
pub(crate) struct Pace {
    period: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Of a connection that may move nothing for `stall`.
    pub(crate) fn new(stall: Duration) -> Self {
        Self {
            period: stall.saturating_mul(STALLS),
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// `bytes` more have moved, after the connection was waited for so long.
    ///
    /// # Errors
    ///
    /// Why the connection is too slow.
    pub(crate) fn note(&mut self, bytes: u64, waited: Duration) -> Result<(), String> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.period {
            return Ok(());
        }
        let (bytes, seconds) = (self.bytes, self.waited.as_secs());
        let least = self.waited.as_millis() * u128::from(LEAST) / 1000;
        (self.bytes, self.waited) = (0, Duration::ZERO);
        if u128::from(bytes) < least {
            return Err(format!("only {bytes} bytes in {seconds} s"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_kibibyte_a_second_for_four_stall_times_is_too_slow() {
        let second = Duration::from_secs(1);
        for (rates, slow_at) in [
            (&[0, 0, 0, 0, 0, 0, 0, 0][..], Some(8)),
            (&[1024; 24], None),
            (&[1023; 8], Some(8)),
            // One second makes up for others, of its own period alone.
            (&[8 << 10, 0, 0, 0, 0, 0, 0, 0], None),
            (
                &[8 << 20, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
                Some(16),
            ),
        ] {
            let mut pace = Pace::new(second * 2);
            let slow = rates
                .iter()
                .position(|bytes| pace.note(*bytes, second).is_err());
            assert_eq!(slow.map(|place| place + 1), slow_at, "{rates:?}");
        }
        // While it is not waited for no time passes.
        let mut pace = Pace::new(second);
        assert!((0..99).all(|_| pace.note(1, Duration::ZERO).is_ok()));
    }
}
