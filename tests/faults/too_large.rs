//! 413: a request is larger than the cluster takes. It is halved, down to one document, and only that is refused.

use std::collections::BTreeSet;

use super::delivery::Delivery;
use super::stub::Stub;

#[test]
fn requests_are_halved_until_the_cluster_takes_them() {
    let cluster = Stub::start();
    cluster.take_at_most(8_000);
    let delivery = Delivery::to(&cluster);
    delivery.add_large("too-large", 9_000);
    let closing = delivery.once();
    delivery.expect_only_failures_again();
    assert_eq!(delivery.dead(), BTreeSet::from(["too-large".to_owned()]));
    assert_eq!(closing.count("refused"), 1);
    let alone = |request: &&crate::faults::stub::Seen| {
        request.documents.len() == 1 && request.statuses == [413]
    };
    assert_eq!(cluster.seen().iter().filter(alone).count(), 1);
}
