//! A journal's files: whatever is in them, opening and reading gives a beginning of what was written, or says what is wrong.

use std::fs;
use std::path::Path;

use modelbeat::edge::journal::{self, Until};
use modelbeat::flow::engine::Intake;
use modelbeat::flow::event::InputId;
use tokio::sync::{mpsc, watch};

/// First byte: how many edits (0 to 3; 4 to 255 make the rest one raw segment file). Then three bytes an edit, and the
/// payloads, each ended by 0.
pub(crate) fn journal(input: &[u8]) {
    let Some((&edits, rest)) = input.split_first() else {
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().join("journal-0");
    fs::create_dir(&folder).expect("a folder in it");
    if edits > 3 {
        fs::write(segment_path(&folder), rest).expect("a segment");
        read(data.path());
        return;
    }
    let Some((edits, payloads)) = rest.split_at_checked(3 * usize::from(edits)) else {
        return;
    };
    let written: Vec<Vec<u8>> = payloads
        .split(|byte| *byte == 0)
        .filter(|payload| !payload.is_empty())
        .map(|payload| [payload, b"\n"].concat())
        .collect();
    let whole = segment(&written);
    let mut edited = whole.clone();
    for edit in edits.chunks_exact(3) {
        change(&mut edited, edit);
    }
    fs::write(segment_path(&folder), &edited).expect("a segment");
    let found = read(data.path());
    let all = written.concat();
    if edited == whole {
        assert_eq!(
            found.as_deref(),
            Some(&*all),
            "an untouched journal is read whole"
        );
    }
    if let Some(found) = found {
        assert!(
            all.starts_with(&found),
            "nothing is read that was not written"
        );
        let ends = written.iter().scan(0, |end, payload| {
            *end += payload.len();
            Some(*end)
        });
        assert!(
            found.is_empty() || ends.into_iter().any(|end| end == found.len()),
            "and no record by halves"
        );
    }
}

/// Cuts, or changes a byte.
fn change(bytes: &mut Vec<u8>, edit: &[u8]) {
    let at = usize::from(edit[0]) << 8 | usize::from(edit[1]);
    let at = at % (bytes.len() + 1);
    match (edit[2], bytes.get_mut(at)) {
        (0, _) | (_, None) => bytes.truncate(at),
        (flip, Some(byte)) => *byte ^= flip,
    }
}

fn segment_path(folder: &Path) -> std::path::PathBuf {
    folder.join("00000000000000000000.journal")
}

/// A segment as ARCHITECTURE.md describes it, written by hand: magic, version, first offset, checksum; then records.
fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"mbeatjrn\x01\x00".to_vec();
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    let mut offset = 0_u64;
    for payload in payloads {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        let mut checked = vec![0];
        checked.extend_from_slice(&offset.to_le_bytes());
        checked.extend_from_slice(&offset.to_le_bytes());
        checked.extend_from_slice(payload);
        let checksum = crc32fast::hash(&[&length[..], &checked].concat());
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&checked);
        offset += payload.len() as u64;
    }
    bytes
}

/// What a start finds; `None` where it is told of damage instead.
fn read(data: &Path) -> Option<Vec<u8>> {
    let settings = journal::Settings {
        data: data.to_owned(),
        input: InputId(0),
        bytes_max: 64 << 20,
        short_lived: false,
    };
    let opened = journal::open(&settings, 0).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (out, mut taken) = mpsc::channel(1_024);
        let (_stop, stopped) = watch::channel(false);
        let reading = tokio::spawn(opened.reader.run(0, Until::Drained, out, stopped));
        let mut bytes = Vec::new();
        while let Some(intake) = taken.recv().await {
            if let Intake::Batch(batch) = intake {
                bytes.extend_from_slice(&batch.bytes);
            }
        }
        reading.await.expect("reading ends").ok()?;
        Some(bytes)
    })
}
