//! Packing and settling, by example and by property.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::flow::document::{DeadLetter, Documents, Item};

/// Documents with these keys, in order; `operation` is the action's name.
fn documents(operation: &str, keys: impl IntoIterator<Item = u64>) -> Documents {
    let mut documents = Documents::default();
    for key in keys {
        let start = documents.bytes.len();
        let action = format!("{{\"{operation}\":{{\"_index\":\"i\",\"_id\":\"{key}\"}}}}\n");
        documents.bytes.extend_from_slice(action.as_bytes());
        documents.bytes.extend_from_slice(b"{\"a\":1}\n");
        documents.items.push(Item {
            key,
            lines: start..documents.bytes.len(),
            action_length: action.len(),
        });
    }
    documents
}

fn request(operation: &str, keys: Range<u64>) -> Request {
    let mut lane = Lane::new(usize::MAX);
    lane.push(&documents(operation, keys), 0);
    lane.take().unwrap()
}

/// A reply with these item statuses; every failure carries an error of the type.
fn reply(statuses: &[u16], kind: &str) -> Vec<u8> {
    let items: Vec<_> = statuses
        .iter()
        .map(|status| match status {
            200..=299 => serde_json::json!({"create": {"status": status}}),
            _ => serde_json::json!({"create": {"status": status, "error": {"type": kind, "reason": "no"}}}),
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({"errors": true, "took": 1, "items": items})).unwrap()
}

fn ids(request: &Request) -> Vec<String> {
    request
        .iter()
        .map(|document| {
            let action: serde_json::Value = serde_json::from_slice(document.action).unwrap();
            let target = action.as_object().unwrap().values().next().unwrap();
            target["_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn sum(settled: &Settled) -> usize {
    let again: usize = settled.again.iter().map(Request::documents).sum();
    settled.stored + settled.superseded + again + settled.refused.len()
}

#[test]
fn only_failed_items_are_sent_again_and_byte_for_byte() {
    let sent = request("create", 0..4);
    let settled = sent.settle(
        200,
        &reply(&[201, 429, 400, 503], "es_rejected_execution_exception"),
    );
    assert_eq!((settled.stored, settled.refused.len()), (1, 1));
    let again = &settled.again[0];
    assert_eq!(ids(again), ["1", "3"]);
    let whole = documents("create", [1, 3]).bytes;
    assert_eq!(again.body(), whole);
}

#[test]
fn no_errors_is_settled_without_reading_the_items() {
    let settled = request("create", 0..3).settle(200, br#"{"errors":false,"took":0,"items":[]}"#);
    assert_eq!(settled.stored, 3);
}

#[test]
fn a_conflict_means_what_its_action_means() {
    let conflict = reply(&[409], "version_conflict_engine_exception");
    assert_eq!(request("create", 0..1).settle(200, &conflict).stored, 1);
    assert_eq!(request("index", 0..1).settle(200, &conflict).superseded, 1);
    let update = request("update", 0..1).settle(200, &conflict);
    assert_eq!(ids(&update.again[0]), ["0"]);
}

#[test]
fn a_refused_document_keeps_all_that_a_retry_needs() {
    // As Elasticsearch 8.19.8 answers a text in a `double` field.
    let answer = br#"{"errors":true,"took":3,"items":[{"create":{"status":400,"error":{"type":
        "document_parsing_exception","reason":"[1:6] failed to parse field [a] of type [double] in document with id '7'",
        "caused_by":{"type":"number_format_exception","reason":"For input string: \"x\""}}}}]}"#;
    let settled = request("create", 7..8).settle(200, answer);
    let expected = DeadLetter {
        reason: "document_parsing_exception: [1:6] failed to parse field [a] of type [double] in document with id '7' \
                 (because For input string: \"x\") (status 400)"
            .to_owned(),
        origin: "i/7".to_owned(),
        position: None,
        text: "{\"a\":1}".to_owned(),
        action: Some("{\"create\":{\"_index\":\"i\",\"_id\":\"7\"}}".to_owned()),
        record: None,
        notifier: None,
    };
    assert_eq!(settled.refused, [expected]);
}

#[test]
fn a_refused_document_revives_as_it_was() {
    let sent = documents("update", [3, 4]);
    let refused = request("update", 3..5)
        .settle(200, &reply(&[400, 404], "x"))
        .refused;
    let mut revived = Documents::default();
    assert!(refused.iter().all(|letter| revive(letter, &mut revived)));
    assert_eq!(revived.bytes, sent.bytes);
    let places = |documents: &Documents| -> Vec<_> {
        let items = documents.items.iter();
        items
            .map(|item| (item.lines.clone(), item.action_length))
            .collect()
    };
    assert_eq!(places(&revived), places(&sent));
    let record = DeadLetter {
        action: None,
        ..refused[0].clone()
    };
    assert!(!revive(&record, &mut revived));
}

#[test]
fn a_request_too_large_is_halved_in_order_down_to_one_document() {
    let mut settled = request("create", 0..5).settle(413, b"");
    assert!(settled.split);
    assert_eq!(ids(&settled.again[0]), ["0", "1", "2"]);
    assert_eq!(ids(&settled.again[1]), ["3", "4"]);
    settled = settled.again.remove(1).settle(413, b"");
    settled = settled.again.remove(0).settle(413, b"");
    assert_eq!((settled.split, settled.refused.len()), (false, 1));
    assert_eq!(settled.refused[0].origin, "i/3");
}

#[test]
fn a_bad_request_in_elasticsearchs_words_is_halved_and_in_a_proxys_waits() {
    let words = br#"{"error":{"type":"illegal_argument_exception","reason":"Malformed action"},"status":400}"#;
    assert!(request("create", 0..2).settle(400, words).split);
    let page =
        request("create", 0..2).settle(400, b"<html>The plain HTTP request was sent to HTTPS port");
    assert!(matches!(page.pause, Some(Pause::Strange(_))), "{page:?}");
    assert_eq!(page.again[0].documents(), 2);
}

#[test]
fn what_a_person_must_mend_pauses() {
    let pause = |status, body: &[u8]| request("create", 0..2).settle(status, body).pause;
    let security = br#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#;
    let blocked =
        br#"{"error":{"type":"cluster_block_exception","reason":"read-only"},"status":403}"#;
    assert!(matches!(pause(401, security), Some(Pause::Unauthorized(_))));
    assert!(matches!(pause(403, security), Some(Pause::Forbidden(_))));
    assert!(matches!(pause(403, blocked), Some(Pause::ReadOnly(_))));
    let items = |status, kind| pause(200, &reply(&[429, status], kind));
    assert!(matches!(
        items(403, "security_exception"),
        Some(Pause::Forbidden(_))
    ));
    assert!(matches!(
        items(403, "cluster_block_exception"),
        Some(Pause::ReadOnly(_))
    ));
    // The flood-stage watermark answers 429 since 8.0.
    assert!(matches!(
        items(429, "cluster_block_exception"),
        Some(Pause::ReadOnly(_))
    ));
}

#[test]
fn an_item_whose_key_is_busy_waits_until_its_flight_is_settled() {
    let mut lane = Lane::new(1 << 20);
    let stream = documents("create", [1, 2, 1]);
    assert_eq!(lane.push(&stream, 0), 2);
    assert!(lane.is_closed());
    let flight = lane.take().unwrap();
    assert_eq!(lane.push(&stream, 2), 2, "its key is in flight");
    assert!(!lane.is_closed(), "there is nothing to take");
    lane.settled(flight.first());
    assert_eq!(lane.push(&stream, 2), 3);
}

#[test]
fn a_document_larger_than_a_request_gets_one_of_its_own() {
    let mut lane = Lane::new(1);
    let stream = documents("create", [1, 2]);
    assert_eq!(lane.push(&stream, 0), 1);
    assert_eq!(lane.take().unwrap().documents(), 1);
    assert_eq!(lane.push(&stream, 1), 2);
}

#[test]
fn a_label_waits_for_a_cluster_that_forbids_scripts() {
    // As Elasticsearch 8.19.8 answers with `script.allowed_types: none`.
    let answer = br#"{"errors":true,"took":3,"items":[{"update":{"_index":"i","_id":"1","status":400,"error":{"type":
        "illegal_argument_exception","reason":"failed to execute script","caused_by":{"type":"illegal_argument_exception",
        "reason":"cannot execute [inline] scripts"}}}}]}"#;
    let settled = request("update", 1..2).settle(200, answer);
    assert_eq!(ids(&settled.again[0]), ["1"]);
    let pause = settled.pause.unwrap();
    assert!(pause.needs_a_person());
    let text = pause.to_string();
    assert!(
        text.contains("cannot execute [inline] scripts") && text.contains("script.allowed_types"),
        "{text}"
    );
}

#[test]
fn everything_before_a_barrier_is_settled_when_the_oldest_flight_is() {
    let mut lane = Lane::new(1 << 20);
    assert_eq!(lane.settled_below(), 0);
    lane.push(&documents("create", 0..3), 0);
    let older = lane.take().unwrap();
    lane.push(&documents("create", 3..5), 0);
    let newer = lane.take().unwrap();
    lane.push(&documents("create", 5..6), 0);
    lane.settled(newer.first());
    assert_eq!((lane.taken(), lane.settled_below()), (6, 0));
    lane.settled(older.first());
    assert_eq!(lane.settled_below(), 5);
}

/// Any answer: of a cluster in any mood, or of anything else.
fn any_answer() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let mood = prop_oneof![
        Just(200_u16),
        Just(201),
        Just(400),
        Just(401),
        Just(403),
        Just(404),
        Just(409),
        Just(413),
        Just(429),
        Just(500),
        Just(503),
        Just(507),
        any::<u16>(),
    ];
    let kind = prop_oneof![
        Just("cluster_block_exception"),
        Just("security_exception"),
        Just("x\n\"")
    ];
    prop_oneof![
        4 => (Just(200), (proptest::collection::vec(mood.clone(), 0..12), kind)
            .prop_map(|(statuses, kind)| reply(&statuses, kind))),
        1 => (mood, proptest::collection::vec(any::<u8>(), 0..80)),
        1 => (Just(200), ".{0,80}".prop_map(String::into_bytes)),
    ]
}

proptest! {
    #[test]
    fn settling_conserves_documents(
        (status, answer) in any_answer(),
        count in 1_u64..12,
        operation in prop_oneof![Just("create"), Just("index"), Just("update")],
    ) {
        let settled = request(operation, 0..count).settle(status, &answer);
        prop_assert_eq!(sum(&settled) as u64, count);
        prop_assert!(settled.again.iter().all(|request| request.documents() > 0));
    }

    #[test]
    fn one_status_an_item_conserves_documents(statuses in proptest::collection::vec(any::<u16>(), 1..12)) {
        let settled = request("create", 0..statuses.len() as u64).settle(200, &reply(&statuses, "x"));
        prop_assert_eq!(sum(&settled), statuses.len());
    }

    #[test]
    fn packing_keeps_the_order_of_every_key_and_never_flies_two_together(
        keys in proptest::collection::vec(0_u64..6, 0..40),
        bulk_bytes in 1_usize..400,
        choices in proptest::collection::vec(any::<u8>(), 200),
    ) {
        let stream = documents("create", keys.iter().copied());
        let mut lane = Lane::new(bulk_bytes);
        let mut flying: Vec<Request> = Vec::new();
        let mut landed: Vec<String> = Vec::new();
        let mut next = 0;
        let mut choices = choices.into_iter().cycle();
        while next < keys.len() || !lane.is_empty() || !flying.is_empty() {
            next = lane.push(&stream, next);
            if let Some(request) = lane.take() {
                flying.push(request);
            }
            let mut seen = BTreeMap::new();
            for id in flying.iter().flat_map(ids) {
                *seen.entry(id).or_insert(0) += 1;
            }
            prop_assert!(seen.values().all(|count| *count == 1));
            let choice = usize::from(choices.next().unwrap());
            if choice % 3 != 0 || next == keys.len() || flying.len() > 2 {
                let request = flying.remove(choice % flying.len());
                landed.extend(ids(&request));
                lane.settled(request.first());
            }
        }
        landed.sort();
        let mut sent: Vec<String> = keys.iter().map(ToString::to_string).collect();
        sent.sort();
        prop_assert_eq!(landed, sent);
        prop_assert_eq!(lane.settled_below(), lane.taken());
    }
}
