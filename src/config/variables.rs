//! `${NAME}` and `${NAME:-default}` in values; `$$` is a dollar sign, and so is one that no brace follows.
//!
//! Substitution happens in values that are parsed already, so a variable can never change the file's structure and
//! every place stays true. YAML reads the braces as its own inside `{ … }` and `[ … ]`; [`Mask`] hides them meanwhile.

use std::borrow::Cow;

/// Where variables come from; a parameter, so that tests need not touch the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value, with its variables put in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Something in it came from outside the file: do not show it.
    pub(super) foreign: bool,
}

/// Why variables cannot be put in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No such variable, and no default.
    Unset(String),
    /// `${` without a name or an end.
    Malformed,
}

pub(super) fn expand(written: &str, environment: Environment<'_>) -> Result<Expanded, Trouble> {
    let mut text = String::with_capacity(written.len());
    let mut foreign = false;
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if after.starts_with('{') {
            let reference = reference(after).ok_or(Trouble::Malformed)?;
            let held = environment(reference.name);
            match (held, reference.default) {
                (Some(held), None) => {
                    foreign = true;
                    text.push_str(&held);
                }
                (Some(held), Some(_)) if !held.is_empty() => {
                    foreign = true;
                    text.push_str(&held);
                }
                (_, Some(default)) => text.push_str(default),
                (None, None) => return Err(Trouble::Unset(reference.name.to_owned())),
            }
            rest = reference.behind;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    Ok(Expanded { text, foreign })
}

/// True if a value is nothing but a variable without a default: safe to show, even where it stands for a secret.
pub(super) fn is_bare(written: &str) -> bool {
    written
        .strip_prefix('$')
        .and_then(reference)
        .is_some_and(|reference| {
            reference.behind.is_empty() && reference.default.is_none_or(str::is_empty)
        })
}

struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
    behind: &'a str,
}

/// Reads `{NAME}…` or `{NAME:-default}…`.
fn reference(text: &str) -> Option<Reference<'_>> {
    let (inside, behind) = text.strip_prefix('{')?.split_once('}')?;
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (starts_well && goes_on_well).then_some(Reference {
        name,
        default,
        behind,
    })
}

/// Stand-ins for the characters that YAML would take for its own, one for one, so that places stay true.
const STAND_INS: [(char, char); 5] = [
    ('{', '\u{e000}'),
    ('}', '\u{e001}'),
    (',', '\u{e002}'),
    ('[', '\u{e003}'),
    (']', '\u{e004}'),
];

/// Hides references from the YAML parser: `{key: ${KEY}}` means what it looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    /// A text that has a stand-in of its own is left alone.
    on: bool,
}

impl Mask {
    pub(super) fn new(text: &str) -> Self {
        Self {
            on: !text
                .chars()
                .any(|c| STAND_INS.iter().any(|(_, stand_in)| *stand_in == c)),
        }
    }

    pub(super) fn hide(self, text: &str) -> Cow<'_, str> {
        if !self.on || !text.contains("${") {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len() + 16);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            masked.push_str(before);
            masked.push('$');
            rest = after;
            if let Some(reference) =
                reference(after).filter(|r| r.default.is_none_or(|d| !d.contains('\n')))
            {
                let length = after.len() - reference.behind.len();
                masked.extend(
                    after
                        .chars()
                        .take_while({
                            let mut seen = 0;
                            move |c| {
                                seen += c.len_utf8();
                                seen <= length
                            }
                        })
                        .map(|c| {
                            STAND_INS
                                .iter()
                                .find(|(plain, _)| *plain == c)
                                .map_or(c, |(_, stand_in)| *stand_in)
                        }),
                );
                rest = reference.behind;
            }
        }
        masked.push_str(rest);
        Cow::Owned(masked)
    }

    pub(super) fn reveal(self, text: Cow<'_, str>) -> String {
        if !self.on || text.is_ascii() {
            return text.into_owned();
        }
        let plain = |c| {
            STAND_INS
                .iter()
                .find(|(_, stand_in)| *stand_in == c)
                .map_or(c, |(plain, _)| *plain)
        };
        text.chars().map(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Expanded, Mask, Trouble, expand, is_bare};

    fn check(written: &str, expect: &str) {
        let environment = |name: &str| match name {
            "HOST" => Some("es.example".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let text = match expand(written, &environment) {
            Ok(Expanded { text, foreign }) => {
                format!("{}{text}", if foreign { "foreign " } else { "" })
            }
            Err(Trouble::Unset(name)) => format!("unset {name}"),
            Err(Trouble::Malformed) => "malformed".to_owned(),
        };
        assert_eq!(text, expect, "{written}");
    }

    #[test]
    fn variables_are_put_in() {
        check("http://${HOST}:9200", "foreign http://es.example:9200");
        check("${HOST}${HOST}", "foreign es.examplees.example");
        check("${NONE:-http://127.0.0.1:9200}", "http://127.0.0.1:9200");
        check("${NONE:-}", "");
        check("${EMPTY:-x}", "x");
        check("${EMPTY}", "foreign ");
        check("${NONE}", "unset NONE");
    }

    #[test]
    fn a_dollar_sign_may_be_just_that() {
        check("$$", "$");
        check("$${HOST}", "${HOST}");
        check("pa$word $", "pa$word $");
        for written in ["${", "${}", "${1}", "${HOST", "${HOST:x}", "${a b}"] {
            check(written, "malformed");
        }
    }

    #[test]
    fn a_bare_variable_shows_nothing() {
        assert!(is_bare("${TOKEN}") && is_bare("${TOKEN:-}"));
        assert!(!is_bare("${TOKEN:-s3cret}") && !is_bare("s3cret") && !is_bare("${TOKEN}x"));
    }

    #[test]
    fn braces_are_hidden_one_for_one() {
        let text = "a: {b: ${X:-1,2}, c: [${Y}]} # ${ } $${Z}";
        let mask = Mask::new(text);
        let hidden = mask.hide(text);
        assert_eq!(hidden.chars().count(), text.chars().count());
        assert_eq!(hidden.matches(['{', '}', ',', '[', ']']).count(), 7);
        assert_eq!(mask.reveal(hidden), text);
    }
}
