//! TLS: a certificate that cannot be trusted is never overlooked, and the way out is said. With it, everything is delivered.

use super::delivery::Delivery;
use super::stub::Stub;

#[test]
fn an_unknown_authority_names_the_setting_that_mends_it() {
    let (cluster, pem) = Stub::secured("127.0.0.1");
    let delivery = Delivery::to(&cluster);
    let mut agent = delivery.run().argument("--grace").argument("1s").start();
    agent.wait_for_complaint("output.elasticsearch.ca");
    agent.stop().expect_code(0);
    assert!(cluster.seen().is_empty(), "nothing was sent");
    delivery.ca(&pem).once();
}

#[test]
fn a_certificate_for_another_name_says_for_which() {
    let (cluster, pem) = Stub::secured("elsewhere.example");
    let delivery = Delivery::to(&cluster).ca(&pem);
    let mut agent = delivery.run().argument("--grace").argument("1s").start();
    agent.wait_for_complaint("not made out to `127.0.0.1` but to elsewhere.example");
    agent.stop().expect_code(0);
    assert!(cluster.seen().is_empty(), "nothing was sent");
}
