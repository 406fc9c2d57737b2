//! The reply to a `_bulk` request: whatever it is, every document is stored, superseded, sent again or refused, once.

use modelbeat::flow::bulk::Lane;
use modelbeat::flow::document::{Documents, Item};

/// First byte: how many documents were sent (1 to 8). Next two: the status. The rest is the reply.
pub(crate) fn reply(input: &[u8]) {
    let Some((&[sent, high, low], reply)) = input.split_first_chunk() else {
        return;
    };
    let status = 100 + u16::from_be_bytes([high, low]) % 500;
    let documents = documents(1 + u64::from(sent % 8));
    let mut lane = Lane::new(1 << 20);
    assert_eq!(lane.push(&documents, 0), documents.items.len());
    let request = lane.take().expect("documents make a request");
    let (sent, bytes) = (request.documents(), request.body().len());
    let settled = request.settle(status, reply);
    let again: usize = settled
        .again
        .iter()
        .map(modelbeat::flow::bulk::Request::documents)
        .sum();
    assert_eq!(
        settled.stored + settled.superseded + again + settled.refused.len(),
        sent,
        "status {status}: nothing is lost and nothing doubled"
    );
    assert!(
        settled
            .again
            .iter()
            .map(|request| request.body().len())
            .sum::<usize>()
            <= bytes
    );
    for letter in &settled.refused {
        assert!(!letter.reason.is_empty(), "refused for a reason");
    }
}

fn documents(count: u64) -> Documents {
    let mut documents = Documents::default();
    for key in 0..count {
        let start = documents.bytes.len();
        let action = format!("{{\"create\":{{\"_index\":\"i\",\"_id\":\"{key}\"}}}}\n");
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
