//! Cleaning, on texts whose secrets are known. Card numbers are those that payment providers publish for tests, IBANs the
//! examples of SWIFT's IBAN registry, hashes Python's `hmac.new(key, text, hashlib.sha256).hexdigest()`.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::flow::decode::{Decoder, Wanted};

const KEY: &str = "0123456789abcdef0123";

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn patterns() -> Patterns {
    Patterns::new(&Builtin::ALL, vec![regex("EMP-[0-9]{6}").unwrap()])
}

fn cleaning(drop: &[&str], hash: &[&str]) -> Cleaning {
    Cleaning::new(&owned(drop), &owned(hash), KEY, patterns())
}

fn json(cleaning: &Cleaning, record: &str) -> Result<String, String> {
    let mut out = Vec::new();
    cleaning.clean(Format::Json, None, record.as_bytes(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[track_caller]
fn check(drop: &[&str], hash: &[&str], record: &str, expected: &str) {
    assert_eq!(
        json(&cleaning(drop, hash), record).as_deref(),
        Ok(expected),
        "{record}"
    );
}

#[track_caller]
fn check_text(text: &str, expected: &str) {
    assert_eq!(patterns().clean(text), expected);
}

#[test]
fn a_dropped_path_is_gone_however_it_is_written() {
    check(
        &["a.b"],
        &[],
        r#"{"a":{"b":1,"c":2},"d":3}"#,
        r#"{"a":{"c":2},"d":3}"#,
    );
    check(&["a.b"], &[], r#"{"a.b":1, "d" : 3}"#, r#"{"d":3}"#);
    check(
        &["a.b.c"],
        &[],
        r#"{"a":{"b.c":1},"a.b":{"c":2},"a.b.c":[3]}"#,
        r#"{"a":{},"a.b":{}}"#,
    );
    check(&["a"], &[], r#"{"a.b":{"c":"}"},"x":[]}"#, r#"{"x":[]}"#);
    check(
        &["s\u{e9}n"],
        &[],
        r#"{"s\u00e9n":"x","t":null}"#,
        r#"{"t":null}"#,
    );
    // Twice, in an array of records, in an array within, and one element.
    check(&["a"], &[], r#"{"a":1,"a":{"a":2}}"#, "{}");
    check(
        &["u.n"],
        &[],
        r#"[{"u":[{"n":1,"m":2},{"n":3}]},{"u":{"n":4}}]"#,
        r#"[{"u":[{"m":2},{}]},{"u":{}}]"#,
    );
    check(
        &["u.1"],
        &[],
        r#"{"u":[1,[2,"]"],3]}"#,
        r#"{"u":[1,null,3]}"#,
    );
    check(
        &["b"],
        &[],
        r#"{"a":{"b":1},"bb":2}"#,
        r#"{"a":{"b":1},"bb":2}"#,
    );
}

#[test]
fn hashes_are_pythons_and_equal_for_equal_values() {
    let mail = "hmac:dd667a2d0043a35b508dbfa2a1b42443ecd2cf5f8046215ff6e622f0d2dac2a1";
    check(
        &[],
        &["id"],
        r#"{"id":"alice@example.com"}"#,
        &format!(r#"{{"id":"{mail}"}}"#),
    );
    check(
        &[],
        &["id"],
        r#"{"id":" alice\u0040example.com"}"#,
        &format!(r#"{{"id":"{mail}"}}"#),
    );
    let seventeen = "hmac:08e667f67d9c391f4e613084bb9090b1c30d433afdd53c6a9a148eeda2976948";
    for written in ["17", "17.0", "\"17\"", "1.7e1"] {
        check(
            &[],
            &["a"],
            &format!(r#"{{"a":{{"b":{written}}}}}"#),
            &format!(r#"{{"a":{{"b":"{seventeen}"}}}}"#),
        );
    }
    check(
        &[],
        &["a"],
        r#"{"a":true}"#,
        r#"{"a":"hmac:b6a9be7a50d5cef107e5d7dda3b2fad72fc33a893f9283e80d889a229a22277a"}"#,
    );
    check(
        &[],
        &["a"],
        r#"{"a":["Zoë",null,""]}"#,
        r#"{"a":["hmac:e083c3040013dad84e4ee57ec725c031fab7c36b2b87da6e5adfa869429bbf7b",null,""]}"#,
    );
    // Dropped is more than hashed.
    check(&["a"], &["a"], r#"{"a":1}"#, "{}");
}

#[test]
fn cells_are_cleaned_by_their_column() {
    let cleaning = cleaning(&["ssn"], &["user.id"]);
    let wanted = Wanted::default();
    let mut header = None;
    let rows = [
        ("user.id, ssn ,note", "user.id, ssn ,note"),
        (
            "17,078-05-1120,\"mail a@b.example, now\"",
            "hmac:08e667f67d9c391f4e613084bb9090b1c30d433afdd53c6a9a148eeda2976948,,\"mail [email], now\"",
        ),
        (",,", ",,"),
    ];
    for (row, expected) in rows {
        let mut out = Vec::new();
        cleaning
            .clean(Format::Csv, header.as_ref(), row.as_bytes(), &mut out)
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let mut decoder = Decoder::new(Format::Csv, &wanted);
        decoder.rows(&mut header, &out, |_| {}).unwrap();
    }
    let mut out = Vec::new();
    let fault = cleaning.clean(Format::Csv, header.as_ref(), b"a@b.example,1", &mut out);
    assert_eq!(
        fault.unwrap_err(),
        "the row has 2 columns, the header has 3"
    );
    // A file without a header: its first row is data.
    cleaning
        .clean(Format::Csv, None, b"a@b.example,c@d.example,x", &mut out)
        .unwrap();
    assert_eq!(out, b"[email]-1,[email]-2,x");
}

#[test]
fn published_numbers_of_cards_are_found_and_others_are_not() {
    for card in [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5555555555554444",
        "378282246310005",
        "3782 822463 10005",
        "371449635398431",
        "6011111111111117",
        "3530111333300000",
        "30569309025904",
        "3852 000002 3237",
        "4222222222222",
        "6205500000000000004",
        "5105.1051.0510.5100",
    ] {
        check_text(card, "[card]");
        check_text(&format!("paid ({card})."), "paid ([card]).");
        check_text(&format!("12 {card} 99"), "12 [card] 99");
    }
    for other in [
        // A digit off, too short, too long, an epoch in microseconds, within a word, a UUID.
        "4111111111111112",
        "411111111111",
        "41111111111111111111111",
        "1795510800000000",
        "id4111111111111111x",
        "41111111-1111-1111-4111-411111111111",
    ] {
        check_text(other, other);
    }
    check(
        &[],
        &[],
        r#"{"pan":4111111111111111,"n":[4111111111111112,0.4111111111111111]}"#,
        r#"{"pan":"[card]","n":[4111111111111112,0.4111111111111111]}"#,
    );
}

#[test]
fn the_registrys_ibans_are_found_and_others_are_not() {
    for iban in [
        "GB29NWBK60161331926819",
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "NO9386011117947",
        "FR1420041010050500013M02606",
        "NL91ABNA0417164300",
        "CH9300762011623852957",
        "MT84MALT011000012345MTLCAST001S",
        "SA0380000000608010167519",
        "BR1800360305000010009795493C1",
        "ES9121000418450200051332",
        "gb29 nwbk 6016 1331 9268 19",
        "PL61109010140000071219812874",
    ] {
        check_text(iban, "[iban]");
        check_text(&format!("to {iban} today"), "to [iban] today");
    }
    for other in [
        "GB28NWBK60161331926819",
        "XX89370400440532013000",
        "DE89370400440532013000X",
        "aDE89370400440532013000",
    ] {
        check_text(other, other);
    }
}

#[test]
fn mail_and_ip_addresses_are_found_and_others_are_not() {
    check_text(
        "Mail <jo.e+x@mail.example.co.uk>, or zoë@exämple.de.",
        "Mail <[email]>, or [email].",
    );
    check_text("/u?m=a%40b.example&n=1", "/u?m=[email]&n=1");
    check_text(
        "@home user@localhost a@.b 3@4",
        "@home user@localhost a@.b 3@4",
    );
    check_text(
        "from 192.168.0.1:8080, 010.1.2.3/8.",
        "from [ip]:8080, [ip]/8.",
    );
    check_text(
        "[2001:db8::8a2e:370:7334]:443 fe80::1%eth0 ::1 ::ffff:10.0.0.1.",
        "[[ip]]:443 [ip]%eth0 [ip] [ip].",
    );
    check_text(
        "12:30:45 1.2.3 1.2.3.4.5 256.1.1.1 std::vec v1.2.3.4 00:1a:2b:3c:4d:5e",
        "12:30:45 1.2.3 1.2.3.4.5 256.1.1.1 std::vec v1.2.3.4 00:1a:2b:3c:4d:5e",
    );
    check_text("EMP-123456 EMP-12345", "[redacted] EMP-12345");
    check(
        &[],
        &[],
        r#"{"a\u0040b.example":{"c@d.example":1},"x":"\"a\u0040b.example\""}"#,
        r#"{"[email]-1":{"[email]-2":1},"x":"\"[email]\""}"#,
    );
}

#[test]
fn of_what_cannot_be_taken_apart_no_path_is_told() {
    for broken in [
        r#"{"a":1"#,
        r#"{"a" 1}"#,
        r#"{"a":tru}"#,
        r#""a@b.example""#,
        "a@b.example",
        r#"{"a":"\x"}"#,
        r#"{"a":1}}"#,
        r#"{"a":"\ud800"}"#,
        "",
        "[1,]",
        r#"{"a":1,}"#,
        "{\"a\":\"b",
    ] {
        let fault = json(&cleaning(&[], &[]), broken).unwrap_err();
        assert!(!fault.contains("a@b"), "{fault}");
    }
    let broken = br#"{"m":"a\u0040b.example","n":"4111111111111111\/x" EMP-123456 "#;
    assert_eq!(
        cleaning(&[], &[]).rest(broken),
        r#"{"m":"[email]","n":"[card]/x" [redacted] "#
    );
    assert_eq!(cleaning(&["x"], &[]).rest(broken), "");
    assert_eq!(cleaning(&[], &["x"]).rest(broken), "");
    let deep = "[".repeat(10_000);
    assert_eq!(
        json(&cleaning(&[], &[]), &deep).unwrap_err(),
        "nested deeper than 128 levels"
    );
}

#[test]
fn an_expression_says_what_is_wrong_with_it() {
    for (text, expected) in [
        (
            "EMP-[0-9",
            "is no regular expression: unclosed character class",
        ),
        ("x*", "matches nothing at all, and so everywhere"),
        (r"\w{900}{900}", "is too large once compiled"),
    ] {
        assert_eq!(regex(text).unwrap_err(), expected);
    }
}

/// JSON with what is looked for in it.
fn value() -> impl Strategy<Value = Json> {
    let secret = prop::sample::select(vec![
        "a@b.example",
        "4111 1111 1111 1111",
        "DE89370400440532013000",
        "10.0.0.1",
        "fe80::1",
        "EMP-123456",
        "[email]",
        "[ip",
        "\"",
        "\\u0040",
    ]);
    let text = prop_oneof![
        "[a-z.@0-9: -]{0,12}",
        any::<String>(),
        (any::<String>(), secret, "[ .,a-z]{0,3}")
            .prop_map(|(before, secret, behind)| format!("{before}{secret}{behind}")),
    ];
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        Just(Json::from(4_111_111_111_111_111_i64)),
        text.clone().prop_map(Json::from),
    ];
    let name = prop_oneof!["[ab](\\.[ab]){0,2}", text];
    scalar.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(name.clone(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Every text of a value, names included.
fn texts<'j>(value: &'j Json, into: &mut Vec<&'j str>) {
    match value {
        Json::String(text) => into.push(text),
        Json::Array(elements) => elements.iter().for_each(|element| texts(element, into)),
        Json::Object(members) => {
            for (name, member) in members {
                into.push(name);
                texts(member, into);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_cleaned_record_is_json_and_clean(record in prop::collection::btree_map("[ab](\\.[ab])?", value(), 0..4)) {
        let record = serde_json::to_string(&record).unwrap();
        let cleaning = cleaning(&["a.b"], &["b"]);
        let once = json(&cleaning, &record).unwrap();
        let read: Json = serde_json::from_str(&once).unwrap();
        prop_assert_eq!(json(&cleaning, &once), Ok(once.clone()), "cleaning twice is cleaning once");
        let mut all = Vec::new();
        texts(&read, &mut all);
        for text in all {
            prop_assert!(matches!(cleaning.patterns.clean(text), Cow::Borrowed(_)), "{text}");
        }
        prop_assert!(read.get("a.b").is_none() && read.pointer("/a/b").is_none());
        // The rest stands as it stood.
        let plain = Cleaning::new(&[], &[], "", Patterns::default());
        let kept: Json = serde_json::from_str(&json(&plain, &record).unwrap()).unwrap();
        prop_assert_eq!(kept, serde_json::from_str::<Json>(&record).unwrap());
    }

    #[test]
    fn any_text_is_clean_once_it_was_cleaned(text in any::<String>(), anchored in any::<bool>()) {
        let expressions = if anchored { [r"^.{1,3}\b", r"[a-z]$"] } else { [r"\[?[a-z]+", r"\d\B"] };
        let patterns = Patterns::new(&Builtin::ALL, expressions.iter().map(|text| regex(text).unwrap()).collect());
        let once = patterns.clean(&text).into_owned();
        prop_assert_eq!(patterns.clean(&once), once.as_str());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), csv in any::<bool>()) {
        let cleaning = cleaning(&["a"], &["b"]);
        let format = if csv { Format::Csv } else { Format::Json };
        cleaning.clean(format, None, &bytes, &mut Vec::new()).ok();
        drop(cleaning.rest(&bytes));
    }
}
