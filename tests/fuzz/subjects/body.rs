//! The body of an HTTP request: it gives records that are what it said, or a place in it.

use modelbeat::flow::body;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) fn body(input: &[u8]) {
    match body::records(input) {
        Ok(records) => {
            let lines: Vec<&[u8]> = lines(&records.bytes).collect();
            assert_eq!(lines.len(), records.count, "a record a line");
            for line in &lines {
                serde_json::from_slice::<&RawValue>(line).expect("a record is JSON");
            }
            if let Some(expect) = records_of(input) {
                let found: Result<Vec<Value>, _> =
                    lines.into_iter().map(serde_json::from_slice).collect();
                assert_eq!(
                    found.expect("as before"),
                    expect,
                    "the same records, in order"
                );
            }
        }
        Err(fault) => {
            let line = input.split(|byte| *byte == b'\n').nth(fault.line - 1);
            let line = line.expect("the line that is named exists");
            assert!(
                fault.byte >= 1 && fault.byte <= line.len() + 1,
                "so does the byte: {fault}"
            );
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or_default();
    whole
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// What `serde_json` finds in the body; `None` where it finds fault with it, for it reads numbers into what they mean
/// (1e999 is too large for it), where modelbeat hands them on.
fn records_of(input: &[u8]) -> Option<Vec<Value>> {
    let input = input.strip_prefix("\u{feff}".as_bytes()).unwrap_or(input);
    let mut records = Vec::new();
    for value in serde_json::Deserializer::from_slice(input).into_iter() {
        match value.ok()? {
            Value::Array(values) => records.extend(values),
            value => records.push(value),
        }
    }
    Some(records)
}
