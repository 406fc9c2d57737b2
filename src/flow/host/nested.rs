//! Dotted paths to nested JSON, in one pass and without a tree.
//!
//! The invariant: paths come in order, so that all members of an object are neighbours (a `.` sorts before every
//! other character of a path); each object is then opened once, and closed when the first path outside it comes.

/// Appends `leaves` as JSON members without the outer braces; `write_leaf` appends a leaf's value.
pub(super) fn write<'a, Leaf>(
    out: &mut Vec<u8>,
    leaves: impl Iterator<Item = (&'a str, Leaf)>,
    write_leaf: impl Fn(&mut Vec<u8>, Leaf),
) {
    let mut open = ""; // the objects we are in: "system.cpu."
    for (index, (path, leaf)) in leaves.enumerate() {
        let (objects, name) = path.split_at(path.rfind('.').map_or(0, |dot| dot + 1));
        let shared = shared_objects(open, objects);
        debug_assert!(index == 0 || open <= path, "{open} before {path}");
        close(out, &open[shared..]);
        if index > 0 {
            out.push(b',');
        }
        for object in objects[shared..].split_terminator('.') {
            key(out, object);
            out.push(b'{');
        }
        key(out, name);
        write_leaf(out, leaf);
        open = objects;
    }
    close(out, open);
}

/// Length of what both have in common, in whole objects.
fn shared_objects(left: &str, right: &str) -> usize {
    left.bytes()
        .zip(right.bytes())
        .take_while(|(left, right)| left == right)
        .enumerate()
        .filter(|(_, (byte, _))| *byte == b'.')
        .last()
        .map_or(0, |(dot, _)| dot + 1)
}

fn close(out: &mut Vec<u8>, objects: &str) {
    let depth = objects.bytes().filter(|byte| *byte == b'.').count();
    out.extend(std::iter::repeat_n(b'}', depth));
}

/// Names of metrics need no escaping; a test says so.
fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
