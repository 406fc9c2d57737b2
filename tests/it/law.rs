//! The law of the house, kept by reading its files: flow is pure, rooms use only rooms further right, files are short and say
//! what they are. What is written in comments, texts and test modules does not count.

use std::fs;
use std::path::{Path, PathBuf};

/// What no file under `src/flow` may name, and what that would bring in.
const WORLDLY: &[(&str, &str)] = &[
    ("tokio", "async I/O"),
    ("async", "async I/O"),
    ("await", "async I/O"),
    ("reqwest", "the network"),
    ("elasticsearch", "the network"),
    ("axum", "the network"),
    ("rustls", "the network"),
    ("notify::", "files"),
    ("sysinfo", "the host"),
    ("rustix", "the host"),
    ("std::fs", "files"),
    ("std::net", "sockets"),
    ("std::os", "the host"),
    ("std::process", "the host"),
    ("std::env", "the host"),
    ("std::thread", "threads"),
    ("std::io::stdin", "files"),
    ("std::io::stdout", "files"),
    ("std::io::stderr", "files"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("Timestamp::now", "a clock"),
    ("Zoned::now", "a clock"),
    ("rand", "randomness"),
    ("RandomState", "randomness"),
];

/// Who may use which rooms of `crate::`: in the order of main → cli → agent → edge → flow, only what is further right (and
/// oneself). config knows every room below the agent; edge and flow know neither it nor those above them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli", "agent", "config", "edge", "flow"]),
    ("lib", &[]),
    ("cli", &["cli", "agent", "config", "edge", "flow"]),
    ("agent", &["agent", "config", "edge", "flow"]),
    ("config", &["config", "edge", "flow"]),
    ("edge", &["edge", "flow"]),
    ("flow", &["flow"]),
];

/// 150 is usual, 400 asks why, this fails.
const LINES_MAX: usize = 600;

#[test]
fn flow_is_pure() {
    let files = sources().into_iter().filter(|file| file.room() == "flow");
    assert_none(files.flat_map(|file| worldly_words(&file)));
}

#[test]
fn rooms_use_only_rooms_further_right() {
    assert_none(sources().iter().flat_map(forbidden_uses));
}

#[test]
fn only_one_room_names_the_elasticsearch_client() {
    let others = sources().into_iter().filter(|file| {
        let path = file.path.to_string_lossy();
        !path.starts_with("src/edge/elastic.rs") && !path.starts_with("src/edge/elastic/")
    });
    assert_none(others.flat_map(|file| {
        let named = words_of_path(&file.code, "elasticsearch::");
        let report = |line| format!("{}:{line}: the client is edge/elastic's", file.name());
        named.map(report).collect::<Vec<_>>()
    }));
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut files = sources();
    files.extend(File::all_under("tests"));
    assert_none(files.iter().filter_map(|file| {
        let lines = file.text.lines().count();
        if !file.text.starts_with("//!") {
            Some(format!("{}: does not open with `//!`", file.name()))
        } else if lines > LINES_MAX {
            Some(format!(
                "{}: {lines} lines, more than {LINES_MAX}",
                file.name()
            ))
        } else {
            None
        }
    }));
}

#[test]
fn modules_are_files_beside_their_folder() {
    let named_mod = |file: &File| file.path.ends_with("mod.rs");
    assert_none(
        sources()
            .iter()
            .filter(|file| named_mod(file))
            .map(File::name),
    );
}

#[test]
fn breaking_the_law_is_seen() {
    let file = |path: &str, text: &str| File::new(PathBuf::from(path), text.to_owned());
    let impure = file(
        "src/flow/join.rs",
        "//! A room.\nuse std::fs::File;\nfn now() -> u64 { let t = std::time::Instant::now(); 0 }\nasync fn f() {}\n",
    );
    assert_eq!(
        worldly_words(&impure).len(),
        3,
        "{:?}",
        worldly_words(&impure)
    );
    let upward = file(
        "src/edge/ship.rs",
        "//! A room.\nuse crate::flow::bulk;\nuse crate::config::Config;\nuse crate::{agent, flow::{event, join}, cli::run};\n",
    );
    let seen = forbidden_uses(&upward);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].starts_with("src/edge/ship.rs:3: edge may not use crate::config"));
}

#[test]
fn what_only_looks_like_breaking_it_is_not() {
    let innocent = File::new(
        PathBuf::from("src/flow/join.rs"),
        r##"//! Knows no tokio. See crate::agent.
/* nor reqwest, /* nested */ nor std::fs */
const WORDS: &[&str] = &["elasticsearch", r#"a "std::net" b"#, "\"SystemTime"];
const QUOTE: char = '"';
fn operand<'a>(strand: &'a str) -> &'a str { strand } // Instant
#[cfg(test)]
mod tests {
    use std::fs::File;
    use crate::agent;
}
"##
        .to_owned(),
    );
    assert_eq!(worldly_words(&innocent), Vec::<String>::new());
    assert_eq!(forbidden_uses(&innocent), Vec::<String>::new());
}

/// One source file.
struct File {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
    /// The text with comments, literals and test modules blanked out, line for line.
    code: String,
}

impl File {
    fn new(path: PathBuf, text: String) -> Self {
        let mut code = blank_comments_and_literals(&text);
        if let Some(start) = code.find("#[cfg(test)]\nmod tests {") {
            // Test modules stand at a file's foot.
            code.truncate(start);
        }
        Self { path, text, code }
    }

    fn all_under(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![root.join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).expect("UTF-8");
                    let path = path.strip_prefix(root).expect("under it").to_owned();
                    files.push(Self::new(path, text));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// `src/edge/tail/glob.rs` and `src/edge.rs` → `edge`.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src").unwrap_or(&self.path);
        let first = inside.iter().next().and_then(|part| part.to_str());
        first.unwrap_or_default().trim_end_matches(".rs")
    }
}

/// What is compiled into the program: files that only hold tests live by the tests' rules.
fn sources() -> Vec<File> {
    let mut files = File::all_under("src");
    assert!(!files.is_empty());
    files.retain(|file| {
        !file.path.ends_with("tests.rs") && !file.path.iter().any(|part| part == "tests")
    });
    files
}

fn worldly_words(file: &File) -> Vec<String> {
    let named = WORLDLY.iter().flat_map(|(word, what)| {
        let report =
            move |line| format!("{}:{line}: `{word}` brings {what} into flow", file.name());
        words_of_path(&file.code, word).map(report)
    });
    named.collect()
}

fn forbidden_uses(file: &File) -> Vec<String> {
    let room = file.room();
    let allowed = MAY_USE.iter().find(|(name, _)| *name == room);
    let Some((_, allowed)) = allowed else {
        return vec![format!("{}: {room} is no room of the house", file.name())];
    };
    // The binary names its library by its name.
    let root = if room == "main" {
        "modelbeat::"
    } else {
        "crate::"
    };
    let mut found = Vec::new();
    for (at, _) in file.code.match_indices(root) {
        let line = line_of(&file.code, at);
        for used in first_parts(&file.code[at + root.len()..]) {
            if !allowed.contains(&used) {
                found.push(format!(
                    "{}:{line}: {room} may not use {root}{used}",
                    file.name()
                ));
            }
        }
    }
    found
}

/// Behind `crate::`: `flow::join` → flow; `{agent, flow::{event, join}}` → agent, flow.
fn first_parts(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![leading_word(path)];
    };
    let mut parts = vec![leading_word(group.trim_start())];
    let mut depth = 1;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => parts.push(leading_word(group[at + 1..].trim_start())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn leading_word(text: &str) -> &str {
    let end = text.find(|c: char| !is_of_word(c)).unwrap_or(text.len());
    &text[..end]
}

/// Lines on which `word` stands by itself, not as part of a longer word.
fn words_of_path<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let inside = |neighbour: Option<char>| neighbour.is_some_and(is_of_word);
        let whole = !inside(before) && (word.ends_with(':') || !inside(after));
        whole.then(|| line_of(code, at))
    })
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[track_caller]
fn assert_none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "the law is broken:\n{}", found.join("\n"));
}

/// Comments, texts and characters become spaces; line feeds stay, so that lines keep their numbers.
fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code.chars().next_back();
        let length = literal_length(rest, before).unwrap_or(0);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (blanked, behind) = rest.split_at(length);
        code.extend(blanked.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = behind;
    }
    code
}

/// Length of the comment, text or character that starts here, if one does.
fn literal_length(rest: &str, before: Option<char>) -> Option<usize> {
    let until = |start: usize, end: &str| {
        let found = rest[start..].find(end);
        found.map_or(rest.len(), |at| start + at + end.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest));
    }
    if rest.starts_with('r') && !before.is_some_and(|c| is_of_word(c) && c != 'b') {
        let hashes = rest[1..].chars().take_while(|&c| c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            return Some(until(hashes + 2, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    None
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    for (at, _) in rest.char_indices() {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    rest.len()
}

fn quoted_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// `'x'` and `'\n'`; a lifetime is none.
fn character_length(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        let (at, _) = characters.skip(1).find(|&(_, c)| c == '\'')?;
        return Some(at + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}
