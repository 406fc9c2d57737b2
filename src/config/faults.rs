//! What is wrong with a pipeline file, for people (`Display`) and for programs (`iter`).
//!
//! Invariant: no secret is ever in here. Excerpts are cut from the file when the report is made, with the spans that
//! hold secrets blotted out; messages quote only what the file itself says, never what a variable held.

use std::fmt;

/// More than this many are not listed: whoever made so many mended the first ones before reading on.
const LISTED_MAX: usize = 100;

/// Longer lines are cut in excerpts, so that a minified file does not flood the terminal.
const EXCERPT_CHARS_MAX: usize = 160;

/// A stretch of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// First line is 1.
    pub line: usize,
    /// First character is 1; counted in characters, as editors do.
    pub column: usize,
    /// Characters to underline, all on that line; 0: there is nothing to show.
    pub length: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be run.
    Error,
    /// It can, but its author probably meant something else.
    Warning,
}

/// One thing wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Where; `None`: the file as a whole.
    pub place: Option<Place>,
    /// What: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line at `place`, without secrets.
    excerpt: Option<String>,
}

/// All that is wrong with one pipeline file, in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    name: String,
    list: Vec<Fault>,
}

/// From a character to a character of a text that must not be shown; ends are exclusive, all count from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secret {
    pub(super) start: (usize, usize),
    pub(super) end: (usize, usize),
}

impl Fault {
    pub(super) fn new(
        severity: Severity,
        place: Option<Place>,
        message: &str,
        help: Option<String>,
    ) -> Self {
        // Both quote keys as they are, and a terminal must not obey what a file says.
        let plain = |text: &str| text.replace(char::is_control, "·");
        Self {
            severity,
            place,
            message: plain(message),
            help: help.map(|help| plain(&help)),
            excerpt: None,
        }
    }

    /// First line is 1; 0 where the fault is the file's as a whole.
    pub fn line(&self) -> usize {
        self.place.map_or(0, |place| place.line)
    }

    /// First character is 1; 0 where the fault is the file's as a whole.
    pub fn column(&self) -> usize {
        self.place.map_or(0, |place| place.column)
    }
}

impl Faults {
    /// Sorts, and cuts the excerpts out of `text`.
    pub(super) fn new(name: &str, text: &str, mut list: Vec<Fault>, secrets: &[Secret]) -> Self {
        list.sort_by_key(|fault| (fault.place, fault.severity));
        let lines: Vec<&str> = text.lines().collect();
        for fault in &mut list {
            let Some(place) = fault.place.filter(|place| place.length > 0) else {
                continue;
            };
            let line = place.line.checked_sub(1).and_then(|at| lines.get(at));
            fault.excerpt = line.map(|line| excerpt(line, place.line, secrets));
        }
        Self {
            name: name.to_owned(),
            list,
        }
    }

    /// One fault about the file as a whole.
    pub(super) fn whole_file(name: &str, message: &str, help: &str) -> Self {
        let fault = Fault::new(Severity::Error, None, message, Some(help.to_owned()));
        Self {
            name: name.to_owned(),
            list: vec![fault],
        }
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them keep the file from running.
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .count()
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    /// A paragraph for each, empty lines between:
    ///
    /// ```text
    /// fraud.yml:12:3: error: unknown key `lable`
    ///    12 |   lable:
    ///       |   ^^^^^
    ///   help: did you mean `label`?
    /// ```
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().take(LISTED_MAX).enumerate() {
            if at > 0 {
                writeln!(formatter)?;
            }
            write_fault(&self.name, fault, formatter)?;
        }
        match self.list.len().checked_sub(LISTED_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(formatter, "\n{}: and {more} more", self.name),
        }
    }
}

fn write_fault(name: &str, fault: &Fault, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let severity = match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    match fault.place {
        None => writeln!(out, "{name}: {severity}: {}", fault.message)?,
        Some(Place {
            line,
            column,
            length,
        }) => {
            writeln!(out, "{name}:{line}:{column}: {severity}: {}", fault.message)?;
            if let Some(excerpt) = &fault.excerpt {
                writeln!(out, "{line:>5} | {excerpt}")?;
                let before = column.saturating_sub(1);
                if before <= EXCERPT_CHARS_MAX {
                    let carets =
                        length.clamp(1, (EXCERPT_CHARS_MAX + 1).saturating_sub(before).max(1));
                    writeln!(out, "      | {}{}", " ".repeat(before), "^".repeat(carets))?;
                }
            }
        }
    }
    match &fault.help {
        Some(help) => writeln!(out, "  help: {help}"),
        None => Ok(()),
    }
}

/// One character for one character, so that the carets stay true.
fn excerpt(line: &str, number: usize, secrets: &[Secret]) -> String {
    let mut cut = String::new();
    for (at, char) in line.chars().enumerate() {
        if at == EXCERPT_CHARS_MAX {
            cut.push('…');
            break;
        }
        let here = (number, at + 1);
        let hidden = secrets
            .iter()
            .any(|secret| secret.start <= here && here < secret.end);
        cut.push(match char {
            _ if hidden => '*',
            '\t' => ' ',
            // A terminal must not obey what a file says.
            char if char.is_control() => '·',
            char => char,
        });
    }
    cut
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// A slice's name is the user's own, and both the message and the help quote it.
    #[test]
    fn a_terminal_obeys_nothing_that_a_key_says() {
        for control in ['\u{1}', '\u{7f}', '\u{85}', '\u{9b}'] {
            let text =
                format!("mapping: {{prediction: {{slices: {{\"coun{control}try\": [a]}}}}}}");
            let faults =
                Config::parse("test.yml", &text, &|_| None).expect_err("a list is no path");
            let quoting = faults
                .iter()
                .find(|fault| fault.message.contains("must be"));
            let quoting = quoting.unwrap_or_else(|| panic!("{faults}"));
            let help = quoting.help.as_deref();
            assert_eq!(
                help,
                Some("write a path into the record behind `coun·try:`")
            );
            let report = faults.to_string();
            assert!(!report.contains(control), "{report:?}");
        }
    }
}
