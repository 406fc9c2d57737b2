//! A cluster that is too busy: 429 and 503, to whole requests and to single documents, with and without `Retry-After`.

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn whole_requests_that_are_rejected_are_sent_again() {
    let cluster = Stub::start();
    cluster.script([
        Answer::Whole(429, None),
        Answer::Whole(503, None),
        Answer::Fine,
        Answer::Whole(502, None),
        Answer::Whole(429, Some(1)),
    ]);
    let delivery = Delivery::to(&cluster);
    delivery.once();
    delivery.expect_only_failures_again();
    let rejected = cluster
        .seen()
        .iter()
        .filter(|request| request.statuses.contains(&429))
        .count();
    assert_eq!(rejected, 2);
}

#[test]
fn of_a_request_only_the_documents_that_failed_are_sent_again() {
    let cluster = Stub::start();
    cluster.script([
        Answer::EverySecond(429),
        Answer::EverySecond(503),
        Answer::EverySecond(429),
    ]);
    let delivery = Delivery::to(&cluster);
    delivery.once();
    delivery.expect_only_failures_again();
    let failed = |status: &&u16| **status >= 300;
    let seen = cluster.seen();
    assert!(
        seen.iter()
            .flat_map(|request| &request.statuses)
            .filter(failed)
            .count()
            > 10
    );
}

/// Both are rejected; one says for how long. While the other is asked five times, it is left alone.
#[test]
fn a_cluster_that_asked_for_time_is_left_alone() {
    let (patient, other) = (Stub::start(), Stub::start());
    patient.be(Answer::Whole(429, Some(300)));
    other.be(Answer::Whole(429, None));
    let (waiting, trying) = (Delivery::to(&patient), Delivery::to(&other));
    let _waiting = waiting.run().start();
    patient.wait_for_requests(1);
    let _trying = trying.run().start();
    other.wait_for_requests(5);
    // Two requests were on their way before the first answer was there.
    assert!(
        patient.seen().len() <= 2,
        "{} requests",
        patient.seen().len()
    );
}
