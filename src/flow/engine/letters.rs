//! Dead letters, both ways: a record at fault becomes one, and one that was handed back becomes a record again.
//!
//! Invariant: a letter read anew is read as its record was, by its own input, kind and CSV header, and counts once: what
//! is taken leaves the log for good, what is still at fault goes back into it under its old place.

use crate::flow::decode::{Decoder, Format, Header, SourceState};
use crate::flow::document::{DeadLetter, Documents, Kept, Reading};
use crate::flow::engine::{Again, Engine};
use crate::flow::event::{Batch, Head, InputId, Position, Timestamp};

/// Text of a record that a dead letter keeps: enough to mend it, not enough to fill a disk.
const TEXT_MAX: usize = 64 << 10;

/// A record at fault, as it was found.
pub(super) struct Found<'f> {
    /// Its first byte in the source.
    pub(super) at: u64,
    pub(super) text: &'f [u8],
    /// The record's length; the text may be only its beginning.
    pub(super) bytes: u64,
    pub(super) kept: Kept,
    pub(super) header: Option<&'f Header>,
}

pub(super) fn dead_letter(batch: &Batch, reason: String, found: &Found<'_>) -> DeadLetter {
    let text = found.text.get(..TEXT_MAX).unwrap_or(found.text);
    let kept = match found.kept {
        Kept::Withheld => Kept::Withheld,
        _ if text.len() < found.text.len() => Kept::Cut,
        Kept::Whole if std::str::from_utf8(text).is_err() => Kept::Lossy,
        kept => kept,
    };
    DeadLetter {
        reason,
        origin: format!("{}:{}", batch.origin, found.at),
        position: Some(Position {
            source: batch.source.clone(),
            offset: found.at,
        }),
        text: String::from_utf8_lossy(text).into_owned(),
        action: None,
        record: Some(Reading {
            input: batch.input.0,
            kind: batch.kind,
            header: found.header.map(Header::to_csv),
            bytes: found.bytes,
            kept,
        }),
        notifier: None,
    }
}

impl Engine {
    /// Takes in records that were dead letters, as the mapping is now. What is still at fault is a dead letter again.
    pub fn push_again(&mut self, again: &Again, now: Timestamp, out: &mut Documents) {
        self.begin(now, out);
        for letter in &again.letters {
            if let Err(reason) = self.read_again(letter, now, out) {
                let input = letter.record.as_ref().map_or(0, |reading| reading.input);
                self.totals.record(InputId(input)).unreadable();
                out.dead_letters.push(DeadLetter {
                    reason,
                    ..letter.clone()
                });
            }
        }
        self.end(&again.source, &again.head, now, out);
    }

    /// # Errors
    /// Why it cannot even be tried.
    fn read_again(
        &mut self,
        letter: &DeadLetter,
        now: Timestamp,
        out: &mut Documents,
    ) -> Result<(), String> {
        if let Some(objection) = letter.objection() {
            return Err(objection.to_owned());
        }
        let (Some(position), Some(reading)) = (&letter.position, &letter.record) else {
            return Err("it is no record".to_owned());
        };
        let inputs = &self.settings.inputs;
        let Some(input) = inputs.get(usize::from(reading.input)).copied() else {
            return Err(format!(
                "it came in by input {} of the pipeline file, which has {} now: put that input back",
                usize::from(reading.input) + 1,
                inputs.len()
            ));
        };
        let wanted = std::mem::take(&mut self.compiled.wanted);
        let header = match (input.format, &reading.header) {
            (Format::Json, _) => Ok(None),
            (Format::Csv, Some(header)) => {
                let mut cleaned = Vec::new();
                let header = match &self.settings.privacy.cleaning {
                    Some(cleaning) => cleaning
                        .clean(Format::Csv, None, header.as_bytes(), &mut cleaned)
                        .map(|()| cleaned.as_slice()),
                    None => Ok(header.as_bytes()),
                };
                let mut state: SourceState = None;
                header.and_then(|header| {
                    Decoder::new(Format::Csv, &wanted)
                        .rows(&mut state, header, |_| {})
                        .map(|()| state)
                })
            }
            (Format::Csv, None) => Err(
                "the header row it belongs to is not known: send the file again whole".to_owned(),
            ),
        };
        if let Ok(mut header) = header.clone() {
            let batch = Batch {
                input: InputId(reading.input),
                source: position.source.clone(),
                origin: origin(letter, position).into(),
                kind: reading.kind,
                bytes: letter.text.clone().into(),
                base: position.offset,
                faults: Vec::new(),
                restart: false,
                head: Head::default(),
            };
            let kind = reading.kind.or(input.kind);
            self.records(&batch, input.format, kind, &wanted, &mut header, now, out);
        }
        self.compiled.wanted = wanted;
        header.map(|_| ())
    }
}

/// The letter's origin without the offset that stands behind it.
fn origin<'l>(letter: &'l DeadLetter, position: &Position) -> &'l str {
    let offset = format!(":{}", position.offset);
    letter
        .origin
        .strip_suffix(offset.as_str())
        .unwrap_or(&letter.origin)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NINE, batch, settings};
    use super::super::*;
    use super::*;
    use crate::flow::event::SourceKey;
    use crate::flow::privacy::{Builtin, Cleaning, Patterns};

    fn prediction(id: &str, key: &str) -> String {
        format!(r#"{{"event":"prediction","{key}":"{id}","ts":{NINE},"predicted":"fraud"}}"#)
    }

    /// An engine whose pipeline was mended: ids stand under `request`.
    fn mended(format: Format) -> Engine {
        let mut settings = settings();
        settings.inputs[0].format = format;
        if let Some(paths) = &mut settings.mapping.prediction {
            paths.id = "request".into();
        }
        Engine::new(settings).unwrap()
    }

    fn again(letters: &[DeadLetter]) -> Again {
        Again {
            source: SourceKey("retry-1".into()),
            letters: letters.to_vec(),
            head: Head {
                input: u16::MAX,
                offset: 99,
                evidence: String::new(),
            },
        }
    }

    fn letters_of(batch: &Batch, format: Format) -> Vec<DeadLetter> {
        let mut settings = settings();
        settings.inputs[0].format = format;
        let mut out = Documents::default();
        Engine::new(settings)
            .unwrap()
            .push(batch, Timestamp(NINE), &mut out);
        out.dead_letters
    }

    fn read_again(letters: &[DeadLetter], format: Format) -> (u64, Vec<DeadLetter>) {
        let mut engine = mended(format);
        let mut out = Documents::default();
        engine.push_again(&again(letters), Timestamp(NINE), &mut out);
        assert!(engine.totals().is_balanced(), "{:?}", engine.totals());
        let checkpoint = engine.checkpoint().unwrap();
        assert_eq!(checkpoint.heads[&SourceKey("retry-1".into())].offset, 99);
        assert_eq!(checkpoint.heads.len(), 1, "no head but its own moves");
        (engine.totals().inputs[0].predictions, out.dead_letters)
    }

    #[test]
    fn a_record_is_read_as_the_mapping_is_now_or_goes_back_under_its_old_place() {
        let lines = [prediction("a", "request"), prediction("b", "nowhere")];
        let letters = letters_of(&batch(&lines), Format::Json);
        assert_eq!(letters.len(), 2);
        let (predictions, left) = read_again(&letters, Format::Json);
        assert_eq!((predictions, left.len()), (1, 1));
        assert_eq!(left[0].position, letters[1].position);
        assert_eq!(left[0].origin, letters[1].origin);
        assert_eq!(left[0].record, letters[1].record);
    }

    #[test]
    fn of_an_array_only_the_records_at_fault_are_letters() {
        let good = prediction("a", "id");
        let lines = [format!("[{good},{}]", prediction("b", "request"))];
        let letters = letters_of(&batch(&lines), Format::Json);
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].text, prediction("b", "request"));
        assert_eq!(read_again(&letters, Format::Json), (1, Vec::new()));
    }

    #[test]
    fn a_row_is_read_under_its_header() {
        let lines = [
            "event,request,ts,\"pre\"\"dicted\",predicted",
            "prediction,a,1795510800000,\"x,y\",fraud",
        ];
        let letters = letters_of(&batch(&lines.map(str::to_owned)), Format::Csv);
        assert_eq!(letters.len(), 1);
        assert_eq!(read_again(&letters, Format::Csv), (1, Vec::new()));
    }

    #[test]
    fn what_is_not_the_whole_record_is_not_read_as_if_it_were() {
        let long = format!("x{}", "é".repeat(TEXT_MAX));
        let begun = format!("[{},7]", prediction("a", "id"));
        let mut source = batch(&[long, begun]);
        let mut bytes = source.bytes.to_vec();
        bytes.extend_from_slice(b"{\"x\":\"\xff\"}\n");
        source.bytes = bytes.into();
        let letters = letters_of(&source, Format::Json);
        let kept: Vec<_> = letters
            .iter()
            .filter_map(|letter| Some(letter.record.as_ref()?.kept))
            .collect();
        assert_eq!(kept, [Kept::Cut, Kept::Begun, Kept::Lossy]);
        let (predictions, left) = read_again(&letters, Format::Json);
        assert_eq!((predictions, left.len()), (0, 3));
    }

    #[test]
    fn a_cleaned_record_is_not_hashed_again_and_what_cannot_be_cleaned_is_not_kept() {
        let key = "0123456789abcdef0123";
        let cleaning = |hash: &[String]| {
            let patterns = Patterns::new(&[Builtin::Email], Vec::new());
            Some(Arc::new(Cleaning::new(&[], hash, key, patterns)))
        };
        let engine = |mut settings: Settings, hash: &[String]| {
            settings.privacy.cleaning = cleaning(hash);
            Engine::new(settings).unwrap()
        };
        let hash = ["id".to_owned(), "request".to_owned()];
        let mut faulty = engine(settings(), &hash);
        let mut out = Documents::default();
        let lines = [
            prediction("a@b.example", "request"),
            r#"{"id":"a@b.example""#.to_owned(),
        ];
        faulty.push(&batch(&lines), Timestamp(NINE), &mut out);
        let letters = out.dead_letters;
        let kept: Vec<_> = letters
            .iter()
            .map(|letter| letter.record.as_ref().unwrap().kept)
            .collect();
        assert_eq!(kept, [Kept::Whole, Kept::Withheld]);
        assert!(letters[0].text.contains("hmac:") && letters[1].text.is_empty());

        let mut mended_settings = settings();
        if let Some(paths) = &mut mended_settings.mapping.prediction {
            paths.id = "request".into();
        }
        let mut mended = engine(mended_settings, &hash);
        let mut out = Documents::default();
        mended.push_again(&again(&letters), Timestamp(NINE), &mut out);
        mended.release(Timestamp(NINE), &mut out);
        let documents = String::from_utf8_lossy(&out.bytes).into_owned();
        // Python: hmac.new(key, b"a@b.example", hashlib.sha256).hexdigest()
        let id = r#""prediction":{"id":"hmac:7173f8bbf148372867822acf82eb87246e7b03f728334e6ac57fa2ae00305282""#;
        assert!(documents.contains(id), "{documents}");
        assert_eq!(
            out.dead_letters.len(),
            1,
            "what was kept back cannot be read"
        );

        // Ids that are alike only because something was taken out of them are not taken.
        let mut redacting = engine(settings(), &[]);
        let mut out = Documents::default();
        redacting.push(
            &batch(&[prediction("a@b.example", "id")]),
            Timestamp(NINE),
            &mut out,
        );
        assert_eq!(redacting.totals().inputs[0].predictions, 0);
        assert!(out.dead_letters[0].reason.contains("privacy.hash"));
        assert!(out.dead_letters[0].text.contains("[email]"));
    }

    #[test]
    fn a_record_is_taken_whole_or_not_at_all() {
        // A prediction that is well, and its label, which is from next year.
        let mut settings = settings();
        let label = settings.mapping.label.as_mut().unwrap();
        label.when.clear();
        label.time = Some("label_ts".into());
        let mut engine = Engine::new(settings).unwrap();
        let record = format!(
            r#"{{"event":"prediction","id":"a","ts":{NINE},"predicted":"fraud","label":"fraud","label_ts":{}}}"#,
            NINE + 365 * 86_400_000
        );
        let mut out = Documents::default();
        engine.push(&batch(&[record]), Timestamp(NINE), &mut out);
        assert_eq!(out.dead_letters.len(), 1);
        assert_eq!(engine.totals().inputs[0].predictions, 0);
        assert_eq!(engine.waiting().0, 0);
    }
}
