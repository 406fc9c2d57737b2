use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

#[track_caller]
fn check(body: &str, expect: &str) {
    let found = records(body.as_bytes()).expect("a good body");
    assert_eq!(String::from_utf8_lossy(&found.bytes), expect);
    assert_eq!(found.count, expect.lines().count());
}

#[track_caller]
fn check_fault(body: &[u8], line: usize, byte: usize, reason: &str) {
    let found = records(body).expect_err("a bad body");
    assert_eq!(
        (found.line, found.byte, found.reason.as_str()),
        (line, byte, reason)
    );
}

#[test]
fn a_body_is_one_object_an_array_or_lines() {
    check(r#"{"a":1}"#, "{\"a\":1}\n");
    check(r#"[{"a":1},{"b":2}]"#, "{\"a\":1}\n{\"b\":2}\n");
    check("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n");
    check("{\"a\":1}\r\n\r\n{\"b\":2}\r\n", "{\"a\":1}\n{\"b\":2}\n");
    check("{\"a\":1}\n[{\"b\":2}]\n", "{\"a\":1}\n{\"b\":2}\n");
    check("\u{feff}{\"a\":1}\n", "{\"a\":1}\n");
    check(" [ ] ", "");
}

#[test]
fn white_space_goes_only_where_a_record_is_more_than_a_line() {
    check("{\"a\": 1}\n", "{\"a\": 1}\n");
    check("[{\"a\": 1}, {\"b\":\n 2}]", "{\"a\": 1}\n{\"b\":2}\n");
    check(
        "{\n \"a \\\" b\\\\\" : [ 1 ,\t2 ]\n}",
        "{\"a \\\" b\\\\\":[1,2]}\n",
    );
}

#[test]
fn numbers_and_strings_stay_as_they_were_written() {
    let record =
        r#"{"n":1.0,"big":123456789012345678901234567890,"e":1E400,"u":"\u00e9\/é","z":-0}"#;
    check(record, &format!("{record}\n"));
    check(&format!("[\n{record}\n]"), &format!("{record}\n"));
}

#[test]
fn lines_as_they_should_be_are_not_copied() {
    let body = b"{\"a\":1}\n{\"b\":2}\n\n";
    let found = records(body).expect("good lines");
    assert!(matches!(
        found.bytes,
        Cow::Borrowed(b"{\"a\":1}\n{\"b\":2}\n")
    ));
}

#[test]
fn a_fault_names_line_and_byte() {
    check_fault(b"", 1, 1, "the body is empty: expected JSON objects");
    check_fault(b" \n ", 2, 2, "the body is empty: expected JSON objects");
    check_fault(b"{\"a\":1}\n{\"b\":2}\n{\"c\":x}\n", 3, 6, "expected value");
    check_fault(b"{\"a\":1}\n  7\n", 2, 3, "expected a JSON object");
    check_fault(b"[{\"a\":1},\n null]", 2, 2, "expected a JSON object");
    check_fault(
        b"[{\"a\":1} {\"b\":2}]",
        1,
        10,
        "expected `,` or `]` after an element of the array",
    );
    check_fault(b"[{\"a\":1}", 1, 9, "the body ends inside an array");
    check_fault(
        b"[{\"a\":1},",
        1,
        10,
        "the body ends where a JSON object was expected",
    );
    check_fault(b"[[{\"a\":1}]]", 1, 2, "expected a JSON object");
    check_fault(b"{\"a\":\n\"\xff\"}", 2, 2, "not valid UTF-8");
    // Inside strings, serde_json counts the bytes before the fault.
    check_fault(
        b"{\"a\":\n\"\x01\"}",
        2,
        1,
        "control character (\\u0000-\\u001F) found while parsing a string",
    );
}

#[test]
fn depth_is_limited_and_brackets_in_strings_do_not_count() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    check(
        &nested(DEPTH_MAX - 1),
        &format!("{}\n", nested(DEPTH_MAX - 1)),
    );
    check_fault(
        nested(DEPTH_MAX).as_bytes(),
        1,
        5 + DEPTH_MAX,
        "nested deeper than 128 levels",
    );
    check_fault(
        nested(1_000_000).as_bytes(),
        1,
        5 + DEPTH_MAX,
        "nested deeper than 128 levels",
    );
    let text = format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(500));
    check(&text, &format!("{text}\n"));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(object),
        ]
    })
}

fn object(map: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(Map::from_iter(map))
}

fn objects() -> impl Strategy<Value = Vec<Value>> {
    let one = prop::collection::btree_map(any::<String>(), values(), 0..5).prop_map(object);
    prop::collection::vec(one, 1..8)
}

#[test]
fn brackets_count_where_they_are_open_at_once() {
    let is_too_deep = |text: &[u8]| too_deep(text).is_some();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
    assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
    assert!(is_too_deep("[".repeat(1_000_000).as_bytes()));
    assert!(!is_too_deep("[]".repeat(1_000).as_bytes()));
    let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
    assert!(!is_too_deep(text.as_bytes()), "in a string they are text");
    let after = format!(r#"{{"a":"\\","b":{}"#, "[".repeat(1_000));
    assert!(is_too_deep(after.as_bytes()), "behind one they are not");
}

proptest! {
    #[test]
    fn every_way_to_write_the_records_gives_the_same_lines(records_in in objects()) {
        let compact: Vec<String> = records_in.iter().map(Value::to_string).collect();
        let pretty: Vec<String> =
            records_in.iter().map(|value| serde_json::to_string_pretty(value).expect("JSON")).collect();
        let lines = format!("{}\n", compact.join("\n"));
        check(&lines, &lines);
        check(&compact.join("\r\n"), &lines);
        check(&pretty.join("\n"), &lines);
        check(&format!("[{}]", compact.join(",")), &lines);
        check(&serde_json::to_string_pretty(&records_in).expect("JSON"), &lines);
        check(&pretty.concat(), &lines);
    }

    #[test]
    fn what_came_out_goes_in_unchanged(body in ".*|[\\[\\]{},:\"a1 \n\\\\]*") {
        if let Ok(once) = records(body.as_bytes()) && once.count > 0 {
            let twice = records(&once.bytes).expect("lines of records");
            prop_assert_eq!(&twice, &once);
            prop_assert!(matches!(twice.bytes, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn any_bytes_give_records_or_a_fault_inside_them(body in prop::collection::vec(any::<u8>(), 0..200)) {
        match records(&body) {
            Ok(found) => prop_assert!(found.bytes.is_empty() || found.bytes.ends_with(b"\n")),
            Err(fault) => prop_assert!(fault.line >= 1 && fault.byte >= 1 && fault.byte <= body.len() + 1),
        }
    }

    /// `serde_json` reading each line into a `Value` is the judge.
    #[test]
    fn a_damaged_body_is_taken_only_if_every_line_is_an_object(
        records_in in objects(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body: Vec<u8> = records_in.iter().flat_map(|value| format!("{value}\n").into_bytes()).collect();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(found) = records(&body) {
            for line in found.bytes.split_inclusive(|&byte| byte == b'\n') {
                prop_assert!(serde_json::from_slice::<Box<RawValue>>(line).is_ok());
                let is_object = line.starts_with(b"{") && line.ends_with(b"}\n");
                prop_assert!(is_object);
            }
        }
    }
}
