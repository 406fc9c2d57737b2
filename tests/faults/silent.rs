//! A cluster that takes requests and says nothing: they are sent again, and what was stored meanwhile is not stored twice.

use super::delivery::Delivery;
use super::stub::{Answer, Stub};

#[test]
fn requests_without_an_answer_are_sent_again() {
    let cluster = Stub::start();
    cluster.script([Answer::Hang, Answer::Hang, Answer::Fine, Answer::Hang]);
    let delivery = Delivery::to(&cluster).impatient();
    let closing = delivery.once();
    assert_eq!(closing.count("refused"), 0);
    assert!(
        cluster
            .seen()
            .iter()
            .filter(|request| request.statuses.is_empty())
            .count()
            >= 3
    );
}

#[test]
fn what_was_stored_before_the_silence_is_stored_once() {
    let cluster = Stub::start();
    cluster.script([Answer::StoreAndHang, Answer::StoreAndHang]);
    let delivery = Delivery::to(&cluster).impatient();
    delivery.once();
    delivery.expect_sent_twice_and_stored_once();
}
