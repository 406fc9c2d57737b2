//! No fault at all: what the others are measured by, and that the stub is a cluster.

use super::delivery::{Delivery, PREDICTIONS};
use super::stub::{Answer, Stub};
use crate::wait;

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

/// Nothing is known of the cluster yet, so no more than two are sent before one is answered; and never more than the
/// pipeline file allows.
#[test]
fn a_cluster_that_takes_its_time_is_not_crowded() {
    let cluster = Stub::start();
    cluster.be(Answer::Held);
    let delivery = Delivery::to(&cluster);
    let agent = delivery.run().start();
    wait::until("two requests to wait", || match cluster.held() {
        2 => Ok(()),
        held => Err(held.to_string()),
    });
    assert_eq!(cluster.seen().len(), 2);
    cluster.release();
    delivery.finish(agent);
    let abreast = cluster.seen().iter().map(|request| request.abreast).max();
    assert!(abreast <= Some(4), "{abreast:?}");
}
