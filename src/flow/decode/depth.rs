//! How deep JSON may nest. What reads it calls itself for each level, here and in Elasticsearch, so a line of a million
//! brackets would end the process: it is a dead letter instead.

use memchr::memchr2_iter;

use crate::flow::body::DEPTH_MAX;

/// True if the text nests deeper than [`DEPTH_MAX`]. Few records hold as many brackets as that, so nearly always counting them
/// is enough, and quick.
pub(super) fn is_too_deep(text: &[u8]) -> bool {
    memchr2_iter(b'{', b'[', text).count() > DEPTH_MAX && deepest(text) > DEPTH_MAX
}

/// Brackets that are open at once, at most; those in strings are text.
fn deepest(text: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_are_open_at_once() {
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
}
