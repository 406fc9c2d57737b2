//! How long to wait before trying again: exponential, with full jitter, so that a hundred sidecars that lost
//! the same cluster do not come back in step.

use std::time::Duration;

/// The longest first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait of our own making: an operator who has mended the cluster sees documents within a minute.
const LONGEST: Duration = Duration::from_mins(1);

/// The longest `Retry-After` that is honoured: beyond it, a proxy's mistake is likelier than a wish.
const LONGEST_WISH: Duration = Duration::from_mins(5);

/// The wait before attempt `attempt` + 1 (the first failure is attempt 0), evenly spread over zero to the ceiling by
/// `random`; never shorter than what the cluster asked for.
#[must_use]
pub fn backoff(attempt: u32, random: u64, retry_after: Option<Duration>) -> Duration {
    let doublings = attempt.min(16);
    let ceiling = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let milliseconds = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    let jittered = Duration::from_millis(random % (milliseconds + 1));
    match retry_after {
        Some(asked) => wish(asked).saturating_add(jittered.min(FIRST)),
        None => jittered,
    }
}

/// What of a `Retry-After` is honoured.
pub(super) fn wish(retry_after: Duration) -> Duration {
    retry_after.min(LONGEST_WISH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_longer_than_a_minute_nor_than_the_ceiling_of_its_attempt(attempt: u32, random: u64) {
            let wait = backoff(attempt, random, None);
            prop_assert!(wait <= LONGEST);
            if attempt < 7 {
                prop_assert!(wait <= FIRST * 2_u32.pow(attempt));
            }
        }

        #[test]
        fn never_shorter_than_the_cluster_asked_for(attempt: u32, random: u64, seconds in 0_u64..300) {
            let wish = Duration::from_secs(seconds);
            prop_assert!(backoff(attempt, random, Some(wish)) >= wish);
        }
    }

    #[test]
    fn the_jitter_spans_the_whole_range() {
        assert_eq!(backoff(0, 0, None), Duration::ZERO);
        assert_eq!(backoff(0, 500, None), FIRST);
        assert_eq!(backoff(30, 60_000, None), LONGEST);
    }

    #[test]
    fn an_absurd_wish_is_cut() {
        assert!(backoff(0, 0, Some(Duration::from_hours(24))) <= LONGEST_WISH + FIRST);
    }
}
