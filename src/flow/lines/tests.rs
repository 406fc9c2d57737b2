//! The properties of the header, against a model that looks at one byte at a time.

use proptest::prelude::*;

use super::*;

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// What a source holds, by offset: a record, or an over-long one with its length.
type Held = Vec<(u64, Result<Vec<u8>, u64>)>;

/// Cuts `source` in pieces of the given sizes (again and again) and collects what comes out.
fn split(framing: Framing, max: usize, source: &[u8], sizes: &[usize]) -> Held {
    let mut splitter = Splitter::new(framing, max, 0);
    let mut held = Held::new();
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    let mut end_of_last_run = 0;
    let mut collect = |run: Run, next: u64, held: &mut Held| {
        for fault in &run.faults {
            assert_eq!(fault.offset, end_of_last_run);
            assert!(fault.excerpt.len() <= EXCERPT_BYTES_MAX);
            assert!(source[index(fault.offset)..].starts_with(&fault.excerpt));
            held.push((fault.offset, Err(fault.length)));
            end_of_last_run = run.base;
        }
        assert_eq!(run.base, end_of_last_run, "runs are contiguous");
        end_of_last_run += run.bytes.len() as u64;
        assert_eq!(
            next, end_of_last_run,
            "the offset is where the next run starts"
        );
        let mark = match run.base {
            0 => byte_order_mark(&run.bytes),
            _ => 0,
        };
        for (offset, record) in records(&run.bytes[mark..], framing) {
            held.push((run.base + (mark + offset) as u64, Ok(record.to_vec())));
        }
    };
    while at < source.len() {
        let end = (at + sizes.next().unwrap()).min(source.len());
        splitter.space(end - at).extend_from_slice(&source[at..end]);
        at = end;
        while let Some(run) = splitter.take() {
            collect(run, splitter.offset(), &mut held);
        }
        assert_eq!(splitter.read_offset(), at as u64);
        assert!(splitter.buffer.len() <= max + 1, "memory is bounded");
    }
    if let Some(run) = splitter.finish() {
        let next = splitter.offset();
        if run.faults.is_empty() {
            collect(run, next, &mut held);
        } else {
            held.extend(
                run.faults
                    .iter()
                    .map(|fault| (fault.offset, Err(fault.length))),
            );
        }
    }
    assert_eq!(splitter.offset(), source.len() as u64);
    assert_eq!(splitter.finish(), None);
    held
}

/// The same, one byte at a time, as one would explain it.
fn naive(framing: Framing, max: usize, source: &[u8]) -> Held {
    let mut held = Held::new();
    let mut start = 0;
    while start < source.len() {
        let (mut quoted, mut field_start, mut just_closed) = (false, true, false);
        let mut end = start;
        while end < source.len() {
            let byte = source[end];
            let overlong = end - start > max;
            if byte == b'\n' && (!quoted || overlong) {
                break;
            }
            if framing == Framing::Csv && byte == b'"' {
                let was_quoted = quoted;
                quoted = !was_quoted && (field_start || just_closed);
                just_closed = was_quoted;
            } else {
                just_closed = false;
            }
            field_start = byte == b',' || source[..=end] == *BYTE_ORDER_MARK;
            end += 1;
        }
        let record = &source[start..end];
        if record.len() > max {
            held.push((start as u64, Err(record.len() as u64)));
        } else {
            let mark = if start == 0 {
                byte_order_mark(record)
            } else {
                0
            };
            let record = &record[mark..];
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            if !record.trim_ascii().is_empty() {
                held.push(((start + mark) as u64, Ok(record.to_vec())));
            }
        }
        start = end + 1;
    }
    held
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Lines), Just(Framing::Csv)]
}

/// Bytes in which everything that matters is frequent.
fn sources() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => Just(b'a'), 2 => Just(b'\n'), 2 => Just(b'"'), 1 => Just(b','), 1 => Just(b'\r'),
        1 => Just(0), 1 => Just(0xFF), 1 => Just(b' '),
    ];
    (any::<bool>(), proptest::collection::vec(byte, 0..200)).prop_map(|(mark, mut bytes)| {
        if mark {
            bytes.splice(0..0, BYTE_ORDER_MARK.iter().copied());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_chunking_gives_the_records_of_the_naive_reader(
        framing in framings(),
        max in prop_oneof![0..12_usize, Just(1_000)],
        source in sources(),
        sizes in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        prop_assert_eq!(split(framing, max, &source, &sizes), naive(framing, max, &source));
    }

    #[test]
    fn records_after_join_is_the_identity(
        lines in proptest::collection::vec("[a-z\",\u{0}\u{e4}]{0,20}[a-z]", 0..20),
        ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n"), Just("\r\n  \n")],
    ) {
        let joined: String = lines.iter().flat_map(|line| [line.as_str(), ending]).collect();
        let found: Vec<_> = records(joined.as_bytes(), Framing::Lines)
            .map(|(offset, record)| {
                assert_eq!(&joined.as_bytes()[offset..offset + record.len()], record);
                std::str::from_utf8(record).unwrap().to_owned()
            })
            .collect();
        prop_assert_eq!(found, lines);
    }

    /// The arbiter is csv-core, which decodes these records later.
    #[test]
    fn csv_records_end_where_csv_core_ends_them(
        rows in proptest::collection::vec(proptest::collection::vec("[ab,\n\"]{0,8}", 1..5), 1..10),
        sizes in proptest::collection::vec(1..10_usize, 1..4),
    ) {
        let mut source = Vec::new();
        let mut expected = Vec::new();
        for row in &rows {
            let cells: Vec<_> = row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            expected.push((source.len() as u64, Ok(cells.join(",").into_bytes())));
            source.extend_from_slice(cells.join(",").as_bytes());
            source.push(b'\n');
        }
        let mut reader = csv_core::Reader::new();
        let (mut rest, mut ends, mut bytes, mut fields) = (&source[..], Vec::new(), [0; 4096], [0; 64]);
        loop {
            let (result, read, _, _) = reader.read_record(rest, &mut bytes, &mut fields);
            rest = &rest[read..];
            match result {
                csv_core::ReadRecordResult::Record => ends.push(source.len() - rest.len()),
                csv_core::ReadRecordResult::End => break,
                other => prop_assert_eq!(other, csv_core::ReadRecordResult::InputEmpty),
            }
        }
        let held = split(Framing::Csv, 1_000, &source, &sizes);
        prop_assert_eq!(&held, &expected);
        let ours: Vec<_> = held.iter().skip(1).map(|held| index(held.0)).chain([source.len()]).collect();
        prop_assert_eq!(ours, ends);
    }
}

#[test]
fn a_quote_inside_a_field_is_text() {
    let source = b"size,name\n5\" disk,a\n\"two\nlines\",b\n";
    let held = split(Framing::Csv, 100, source, &[7]);
    let texts: Vec<_> = held
        .iter()
        .map(|(_, record)| record.clone().unwrap())
        .collect();
    assert_eq!(
        texts,
        [&b"size,name"[..], b"5\" disk,a", b"\"two\nlines\",b"]
    );
}

#[test]
fn a_stray_quote_costs_one_overlong_record_and_not_the_file() {
    let mut source = b"1,\"oops\n".to_vec();
    source.extend_from_slice(&b"2,fine\n".repeat(10));
    let held = split(Framing::Csv, 20, &source, &[1]);
    assert_eq!(held[0], (0, Err(21)));
    assert_eq!(held.len(), 9);
    assert_eq!(held[1], (22, Ok(b"2,fine".to_vec())));
}

#[test]
fn an_overlong_record_keeps_its_first_kibibyte_and_little_memory() {
    let mut splitter = Splitter::new(Framing::Lines, 1 << 20, 7);
    for _ in 0..64 {
        splitter
            .space(1 << 16)
            .extend_from_slice(&vec![b'x'; 1 << 16]);
        assert_eq!(splitter.take(), None);
        assert!(splitter.buffer.capacity() <= 2 << 20);
        assert_eq!(splitter.offset(), 7);
    }
    splitter.space(8).extend_from_slice(b"xx\nnext\n");
    let run = splitter.take().unwrap();
    let fault = &run.faults[0];
    assert_eq!(
        (fault.offset, fault.length, run.base),
        (7, (4 << 20) + 2, 7 + (4 << 20) + 3)
    );
    assert_eq!(fault.excerpt, [b'x'; EXCERPT_BYTES_MAX]);
    assert_eq!(fault.reason, "record is longer than 1048576 bytes");
    assert_eq!(splitter.take().unwrap().bytes, "next\n");
}

#[test]
fn a_source_may_go_on_after_its_end() {
    let mut splitter = Splitter::new(Framing::Lines, 100, 0);
    splitter.space(8).extend_from_slice(b"one");
    assert_eq!(splitter.take(), None);
    assert_eq!(splitter.finish().unwrap().bytes, "one");
    splitter.space(8).extend_from_slice(b"two\n");
    let run = splitter.take().unwrap();
    assert_eq!((run.base, &run.bytes[..]), (3, &b"two\n"[..]));
}

/// Found by fuzzing: a second mark was taken for the first where a run was read, and for text where it was cut.
#[test]
fn only_the_first_byte_order_mark_of_a_source_is_one() {
    let mark = "\u{feff}";
    for (source, expect) in [
        (format!("{mark}\"a\nb\",c\n"), 1),
        (format!("{mark}{mark}\"a\nb\",c\n"), 2),
        (format!("x\n{mark}\"a\nb\",c\n"), 3),
    ] {
        for read in [1, 4, source.len()] {
            let mut splitter = Splitter::new(Framing::Csv, 1_000, 0);
            let mut found = 0;
            for bytes in source.as_bytes().chunks(read) {
                splitter.space(read).extend_from_slice(bytes);
                while let Some(run) = splitter.take() {
                    let mark = match run.base {
                        0 => byte_order_mark(&run.bytes),
                        _ => 0,
                    };
                    found += records(&run.bytes[mark..], Framing::Csv).count();
                }
            }
            assert_eq!(found, expect, "{source:?} by {read}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_three_bytes_or_none() {
    assert_eq!(byte_order_mark("\u{feff}{}".as_bytes()), 3);
    assert_eq!(byte_order_mark(b"\xEF\xBB"), 0);
}

#[test]
fn a_dropped_run_gives_its_buffer_to_the_next_splitter() {
    let pool = Pool::default();
    let mut first = Splitter::new(Framing::Lines, 100, 0).with_pool(&pool);
    first.space(1 << 17).extend_from_slice(b"one\ntw");
    let run = first.take().unwrap();
    let address = run.bytes.as_ptr();
    let mut second = Splitter::new(Framing::Lines, 100, 0).with_pool(&pool);
    assert_ne!(second.space(1 << 17).as_ptr(), address, "it is still lent");
    drop(run);
    assert_eq!(first.space(1 << 17).as_ptr(), address);
    first.space(1).extend_from_slice(b"o\n");
    assert_eq!(first.take().unwrap().bytes, "two\n");
}
