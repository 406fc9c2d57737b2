//! What only a person can mend: 401, 403, an index that is read-only. Shipping waits and says so, one request asks now and then,
//! and it goes on by itself.

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn a_key_that_is_not_known() {
    check(Answer::Whole(401, None), "check `api_key`");
}

#[test]
fn a_key_that_may_not_write() {
    check(Answer::Whole(403, None), "grant the role or API key");
}

#[test]
fn an_index_that_someone_made_read_only() {
    check(Answer::ReadOnly(403), "lift the block");
}

#[test]
fn an_index_that_the_flood_stage_watermark_made_read_only() {
    check(Answer::ReadOnly(429), "free disk space on the cluster");
}

#[track_caller]
fn check(answer: Answer, words: &str) {
    let cluster = Stub::start();
    cluster.be(answer);
    let delivery = Delivery::to(&cluster);
    let mut agent = delivery.run().start();
    agent.wait_for_complaint(words);
    // Those that were on their way when the first answer came are back after the second round.
    cluster.wait_for_requests(6);
    let asked = cluster.seen();
    assert!(
        asked[4..].iter().all(|request| request.abreast == 1),
        "one at a time"
    );
    cluster.be(Answer::Fine);
    let closing = delivery.finish(agent);
    delivery.expect_only_failures_again();
    let said = closing.times("shipping waits until someone mends this");
    let failed = cluster
        .seen()
        .iter()
        .filter(|request| request.statuses.iter().any(|status| *status >= 400))
        .count();
    assert!((1..failed).contains(&said), "said {said} times of {failed}");
    assert_eq!(closing.times("shipping goes on"), 1);
}
