//! JSON: one object a line, or one array of objects a line. One pass over the text validates all of it (it is spliced
//! into the document as it is) and keeps only what the path tree asks for.
//!
//! A path's dots match nested objects and literal dots alike: `a.b` finds `{"a":{"b":1}}` and `{"a.b":1}`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::flow::body::{DEPTH_MAX, too_deep};
use crate::flow::decode::{Record, Row};
use crate::flow::event::Field;

/// A path deeper than this is matched as nested objects only: each level doubles the ways to read its dots.
const DOTTED_DEPTH_MAX: usize = 6;

/// Levels of a value that is wanted whole, such as scores by class. Deeper ones mean nothing to anybody here, and each
/// level takes room on the stack.
const WHOLE_DEPTH_MAX: usize = 16;

/// What is said of a deeper one.
const TOO_DEEP: &str = "a mapped value nests deeper than 16 levels";

/// One level of the tree of wanted paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    slot: Option<usize>,
    children: Vec<(Box<str>, Node)>,
}

impl Node {
    /// Adds a path in every reading of its dots.
    pub(super) fn insert(&mut self, path: &str, slot: usize) {
        self.child(path).slot = Some(slot);
        let depth = path.matches('.').count();
        for (at, _) in path.match_indices('.') {
            let (head, tail) = path.split_at(at);
            let only_nested = depth > DOTTED_DEPTH_MAX && head.contains('.');
            if let Some(tail) = tail
                .get(1..)
                .filter(|tail| !tail.is_empty() && !only_nested)
            {
                self.child(head).insert(tail, slot);
            }
        }
    }

    fn child(&mut self, name: &str) -> &mut Self {
        let index = self
            .children
            .iter()
            .position(|(known, _)| &**known == name)
            .unwrap_or_else(|| {
                self.children.push((name.into(), Self::default()));
                self.children.len() - 1
            });
        &mut self.children[index].1
    }

    fn find(&self, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, node)| node)
    }
}

/// Reads one line: an object, or an array of objects.
pub(super) fn rows<'a>(
    text: &'a str,
    tree: &Node,
    slots: usize,
    fields: &mut Vec<Field<'a>>,
    each: &mut impl FnMut(&Row<'_, 'a>),
) -> Result<(), String> {
    let text = text.trim_ascii();
    if too_deep(text.as_bytes()).is_some() {
        return Err(format!("nested deeper than {DEPTH_MAX} levels"));
    }
    match text.as_bytes().first() {
        Some(b'{') => row(text, tree, slots, fields, each),
        Some(b'[') => {
            for element in sonic_rs::to_array_iter(text) {
                let element = element.map_err(|error| explain(&error))?;
                // The slice behind a borrowed raw text lives as long as the line.
                let offset = element.as_raw_str().as_ptr().addr() - text.as_ptr().addr();
                let raw = text
                    .get(offset..offset + element.as_raw_str().len())
                    .unwrap_or_default();
                if !raw.starts_with('{') {
                    return Err(format!(
                        "byte {}: an array of records holds something that is no object",
                        offset + 1
                    ));
                }
                row(raw, tree, slots, fields, each)
                    .map_err(|error| format!("element at byte {}: {error}", offset + 1))?;
            }
            Ok(())
        }
        _ => Err("neither a JSON object nor an array of objects".into()),
    }
}

fn row<'a>(
    text: &'a str,
    tree: &Node,
    slots: usize,
    fields: &mut Vec<Field<'a>>,
    each: &mut impl FnMut(&Row<'_, 'a>),
) -> Result<(), String> {
    fields.clear();
    fields.resize(slots, Field::Absent);
    let mut deserializer = sonic_rs::Deserializer::from_str(text);
    Walk {
        node: tree,
        fields,
        whole: 0,
    }
    .deserialize(&mut deserializer)
    .map_err(|error| explain(&error))?;
    deserializer.end().map_err(|error| explain(&error))?;
    each(&Row {
        fields,
        record: Record::Json(text),
    });
    Ok(())
}

/// The parser's message without its multi-line drawing.
fn explain(error: &sonic_rs::Error) -> String {
    let text = error.to_string();
    let what = text
        .lines()
        .next()
        .unwrap_or("not JSON")
        .trim_end_matches([':', '.']);
    if what.starts_with(TOO_DEEP) {
        return TOO_DEEP.into();
    }
    format!("not valid JSON: {what}")
}

/// Walks one value along the tree, and fills slots.
struct Walk<'t, 'f, 'a> {
    node: &'t Node,
    fields: &'f mut [Field<'a>],
    /// Levels into a value that is wanted whole.
    whole: usize,
}

impl<'a> Walk<'_, '_, 'a> {
    fn set(&mut self, field: Field<'a>) {
        if let Some(place) = self.node.slot.and_then(|slot| self.fields.get_mut(slot)) {
            *place = field;
        }
    }

    /// The level below, where this one is wanted whole.
    fn deeper<E: Error>(&self) -> Result<usize, E> {
        if self.whole < WHOLE_DEPTH_MAX {
            Ok(self.whole + 1)
        } else {
            Err(E::custom(TOO_DEEP))
        }
    }
}

impl<'a> DeserializeSeed<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Walk<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.set(Field::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.set(Field::Int(value));
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.set(i64::try_from(value).map_or(Field::UInt(value), Field::Int));
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.set(Field::Float(value));
        Ok(())
    }

    fn visit_borrowed_str<E>(mut self, value: &'a str) -> Result<(), E> {
        self.set(Field::Text(Cow::Borrowed(value)));
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.set(Field::Text(Cow::Owned(value.into())));
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.set(Field::Null);
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        let collect = self.node.slot.is_some();
        let mut members = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            let child = self.node.find(&key);
            if collect {
                let mut value = [Field::Absent];
                map.next_value_seed(Walk {
                    node: &LEAF,
                    fields: &mut value,
                    whole: self.deeper()?,
                })?;
                let [value] = value;
                if let Some(child) = child {
                    fill(child, &value, self.fields);
                }
                if !matches!(value, Field::Absent) {
                    members.push((key, value));
                }
            } else if let Some(child) = child {
                map.next_value_seed(Walk {
                    node: child,
                    fields: self.fields,
                    whole: 0,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if collect {
            self.set(Field::Object(members));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        let collect = self.node.slot.is_some();
        let mut elements = Vec::new();
        let mut digits = itoa::Buffer::new();
        for index in 0_usize.. {
            let child = self.node.find(digits.format(index));
            let more = if collect {
                let mut value = [Field::Absent];
                let more = sequence.next_element_seed(Walk {
                    node: &LEAF,
                    fields: &mut value,
                    whole: self.deeper()?,
                })?;
                let [value] = value;
                if more.is_some() {
                    if let Some(child) = child {
                        fill(child, &value, self.fields);
                    }
                    elements.push(value);
                }
                more
            } else if let Some(child) = child {
                sequence.next_element_seed(Walk {
                    node: child,
                    fields: self.fields,
                    whole: 0,
                })?
            } else {
                sequence.next_element::<IgnoredAny>()?.map(|_| ())
            };
            if more.is_none() {
                break;
            }
        }
        if collect {
            self.set(Field::Array(elements));
        }
        Ok(())
    }
}

/// The tree of "take the whole value".
static LEAF: Node = Node {
    slot: Some(0),
    children: Vec::new(),
};

/// Fills the slots of `node` from a value that was already taken whole, because a longer path goes through it too.
fn fill<'a>(node: &Node, value: &Field<'a>, fields: &mut [Field<'a>]) {
    if let Some(place) = node.slot.and_then(|slot| fields.get_mut(slot)) {
        *place = value.clone();
    }
    match value {
        Field::Object(members) => {
            for (name, member) in members {
                if let Some(child) = node.find(name) {
                    fill(child, member, fields);
                }
            }
        }
        Field::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                if let Some(child) = node.find(itoa::Buffer::new().format(index)) {
                    fill(child, element, fields);
                }
            }
        }
        Field::Absent
        | Field::Null
        | Field::Bool(_)
        | Field::Int(_)
        | Field::UInt(_)
        | Field::Float(_)
        | Field::Text(_) => {}
    }
}

/// Reads an object's key, borrowed where it has no escapes.
struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Key {
    type Value = Cow<'a, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.into()))
    }
}
