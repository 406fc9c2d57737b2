//! No fault at all: what the others are measured by, and that the stub is a cluster.

use super::delivery::{Delivery, PREDICTIONS};
use super::stub::Stub;

#[test]
fn a_healthy_cluster_is_sent_every_document_once() {
    let cluster = Stub::start();
    let delivery = Delivery::to(&cluster);
    delivery.once();
    assert_eq!(cluster.count("modelbeat.prediction"), PREDICTIONS);
    assert_eq!(cluster.count("modelbeat.quality"), 1);
    let seen = cluster.seen();
    let is_taken = |status: &u16| *status < 300;
    assert!(
        seen.iter()
            .flat_map(|request| &request.statuses)
            .all(is_taken)
    );
    assert!(seen.iter().all(|request| request.bytes <= 64 << 10));
}
