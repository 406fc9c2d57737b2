//! The pace against clusters of the imagination, in time of the imagination.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    requests: 8,
    bytes: 4 << 20,
};

/// A cluster: what a request of so many bytes takes when so many are in flight, and how many it puts up with.
struct Cluster {
    fixed: Duration,
    bytes_a_second: u64,
    /// Requests that it works on at once; others queue.
    workers: u64,
    /// Requests beyond are told 429.
    most: usize,
}

impl Cluster {
    fn latency(&self, pace: &Pace) -> Duration {
        let bytes = pace.bytes() as u64;
        let alone = self.fixed + Duration::from_micros(bytes * 1_000_000 / self.bytes_a_second);
        let queue = (pace.requests() as u64).div_ceil(self.workers);
        alone * u32::try_from(queue).unwrap()
    }

    /// So many requests, each full, as many at once as the pace allows.
    fn serve(&self, pace: &mut Pace, now: &mut Duration, requests: usize) {
        for _ in 0..requests {
            *now += pace.quiet(*now);
            let sent = *now;
            *now += self.latency(pace);
            if pace.requests() > self.most {
                pace.failed(Trouble::Busy, None, 0, sent, *now);
            } else {
                pace.answered(pace.bytes(), sent, *now);
            }
        }
    }
}

const GENEROUS: Cluster = Cluster {
    fixed: Duration::from_millis(20),
    bytes_a_second: 50 << 20,
    workers: 64,
    most: 64,
};

#[test]
fn with_a_generous_cluster_requests_grow_to_their_bounds() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    assert_eq!((pace.requests(), pace.bytes()), (2, 1 << 20));
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    assert_eq!((pace.requests(), pace.bytes()), (8, 4 << 20));
}

#[test]
fn where_one_request_works_at_a_time_the_others_do_not_queue() {
    let one_by_one = Cluster {
        workers: 1,
        ..GENEROUS
    };
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    one_by_one.serve(&mut pace, &mut now, 2_000);
    assert!(pace.requests() <= 3, "{pace:?}");
    assert!(pace.bytes() >= 1 << 20, "{pace:?}");
}

#[test]
fn a_rejection_halves_once_however_many_requests_it_hits() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    let sent = now;
    for _ in 0..8 {
        now += Duration::from_millis(1);
        pace.failed(Trouble::Busy, None, 0, sent, now);
    }
    assert_eq!(pace.requests(), 4);
    for halved in [2, 1, 1] {
        now += Duration::from_secs(1);
        pace.failed(Trouble::Busy, None, 0, now, now);
        assert_eq!(pace.requests(), halved);
    }
    assert_eq!(
        pace.bytes(),
        2 << 20,
        "one request in flight, so it is halved"
    );
}

#[test]
fn after_trouble_it_recovers() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    for _ in 0..100 {
        pace.failed(Trouble::Busy, None, 1, now, now);
        now += pace.quiet(now) + Duration::from_millis(1);
    }
    assert_eq!((pace.requests(), pace.bytes()), (1, 64 << 10));
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    assert_eq!((pace.requests(), pace.bytes()), (8, 4 << 20));
}

#[test]
fn a_cluster_that_takes_three_at_once_is_sent_about_three() {
    let three = Cluster {
        most: 3,
        ..GENEROUS
    };
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    three.serve(&mut pace, &mut now, 1_000);
    let mut rejected = 0;
    for _ in 0..1_000 {
        rejected += u32::from(pace.requests() > three.most);
        three.serve(&mut pace, &mut now, 1);
        assert!((1..=4).contains(&pace.requests()));
    }
    assert!(rejected <= 100, "one in ten at most: {rejected}");
}

#[test]
fn latency_beyond_a_multiple_of_its_floor_is_backed_away_from() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    let crowded = Cluster {
        bytes_a_second: 2 << 20,
        ..GENEROUS
    };
    crowded.serve(&mut pace, &mut now, 100);
    assert!(pace.requests() <= 2, "{pace:?}");
    // A cluster that stays like this is what there is: its floor is measured anew.
    crowded.serve(&mut pace, &mut now, 20_000);
    assert_eq!(pace.requests(), 8, "{pace:?}");
}

#[test]
fn what_a_person_must_mend_leaves_one_request_and_what_was_learnt() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    pace.failed(Trouble::Broken, None, 0, now, now);
    assert_eq!(pace.requests(), 1);
    pace.answered(
        1,
        now + Duration::from_mins(1),
        now + Duration::from_secs(61),
    );
    assert_eq!((pace.requests(), pace.bytes()), (8, 4 << 20));
}

#[test]
fn everyone_waits_as_long_as_the_cluster_asked() {
    let mut pace = Pace::new(BOUNDS);
    let (sent, now) = (Duration::from_secs(1), Duration::from_secs(2));
    let wish = |seconds| Some(Duration::from_secs(seconds));
    pace.failed(Trouble::Busy, wish(20), 0, sent, now);
    assert_eq!(pace.quiet(now), Duration::from_secs(20));
    // The other request in flight hears of a longer one, and then of none.
    pace.failed(Trouble::Busy, wish(30), 0, sent, now);
    pace.failed(Trouble::Busy, None, 0, sent, now);
    assert_eq!(pace.quiet(now), Duration::from_secs(30));
    assert_eq!(pace.quiet(Duration::from_secs(32)), Duration::ZERO);
}

#[test]
fn what_is_too_large_for_the_cluster_is_never_tried_again() {
    let (mut pace, mut now) = (Pace::new(BOUNDS), Duration::ZERO);
    assert!(pace.too_large(1 << 20));
    GENEROUS.serve(&mut pace, &mut now, 1_000);
    assert_eq!(pace.bytes(), 512 << 10);
    assert!(
        pace.too_large(100),
        "its documents are too large, not the request"
    );
    assert!(!pace.too_large(100));
    assert_eq!(pace.bytes(), 64 << 10);
}

#[derive(Clone, Debug)]
enum Heard {
    Answered { bytes: usize, latency: u64 },
    Failed(Trouble, Option<u64>),
    TooLarge(usize),
}

fn heard() -> impl Strategy<Value = Heard> {
    let trouble = prop_oneof![
        Just(Trouble::Busy),
        Just(Trouble::Away),
        Just(Trouble::Broken)
    ];
    prop_oneof![
        4 => (any::<usize>(), 0..100_000_u64).prop_map(|(bytes, latency)| Heard::Answered { bytes, latency }),
        1 => (trouble, proptest::option::of(any::<u64>())).prop_map(|(trouble, wish)| Heard::Failed(trouble, wish)),
        1 => any::<usize>().prop_map(Heard::TooLarge),
    ]
}

proptest! {
    #[test]
    fn whatever_is_heard_the_bounds_are_kept_and_it_goes_on(
        requests in 0_usize..70,
        bytes in 0_usize..(200 << 20),
        story in proptest::collection::vec((heard(), any::<u64>(), 0_u64..1_000), 0..300),
    ) {
        let bounds = Bounds { requests, bytes };
        let mut pace = Pace::new(bounds);
        let mut now = Duration::ZERO;
        for (heard, random, pause) in story {
            now += Duration::from_millis(pause);
            match heard {
                Heard::Answered { bytes, latency } => {
                    // Full requests, most of them: the others teach nothing.
                    let bytes = if bytes % 4 == 0 { bytes } else { pace.bytes() };
                    pace.answered(bytes, now.saturating_sub(Duration::from_micros(latency)), now);
                }
                Heard::Failed(trouble, wish) => {
                    // Not what `requests()` says, which is one while someone must mend something.
                    let before = pace.requests;
                    pace.failed(trouble, wish.map(Duration::from_secs), random, now, now);
                    let halved = if trouble == Trouble::Broken { before } else { (before / 2).max(1) };
                    prop_assert_eq!(pace.requests, halved);
                }
                Heard::TooLarge(bytes) => { pace.too_large(bytes); }
            }
            prop_assert!((1..=requests.max(1)).contains(&pace.requests()));
            prop_assert!((1..=bytes.max(1)).contains(&pace.bytes()));
            prop_assert!(pace.bytes() >= bytes.clamp(1, 64 << 10));
            prop_assert!(pace.quiet(now) <= Duration::from_mins(5) + Duration::from_millis(500));
        }
    }
}
