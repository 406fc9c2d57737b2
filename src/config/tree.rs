//! YAML text to a tree of values that know their places, variables put in.
//!
//! Invariants: no two keys of a map are equal; the tree is at most [`DEPTH_MAX`] deep; every fault found here is
//! reported once, and its value is [`Value::Broken`], at which readers keep quiet.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::config::faults::{Fault, Place, Secret, Severity};
use crate::config::section::Report;
use crate::config::variables::{self, Environment, Mask, Trouble};

/// A pipeline file is six levels deep; what is deeper is a mistake or an attack on the stack.
const DEPTH_MAX: usize = 32;

/// Keys whose values are never shown, nor those of keys that are nearly these: typing errors hide here.
const SECRET_KEYS: [&str; 5] = ["token", "api_key", "password", "secret", "hmac_key"];

#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that is reported already.
    Broken,
}

#[derive(Debug)]
pub(super) struct Scalar {
    /// With variables put in.
    pub(super) text: String,
    /// `key:`, `~`, `null` or nothing at all, as `${VAR:-}` may leave it.
    pub(super) null: bool,
    /// A part came from a variable: do not show the text.
    pub(super) foreign: bool,
    /// What may be shown to anybody: as written, without secrets.
    pub(super) shown: String,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// Parses one document. `None`: there is a syntax error, or no document.
pub(super) fn parse(text: &str, environment: Environment<'_>, report: &Report) -> Option<Node> {
    let mask = Mask::new(text);
    let masked = mask.hide(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(&masked),
        text,
        mask,
        environment,
        report,
    };
    match builder.document() {
        Ok(node) => node,
        Err(fault) => {
            report.add(fault);
            None
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    mask: Mask,
    environment: Environment<'a>,
    report: &'a Report,
}

/// Where a node hangs: what decides whether its text is a secret.
#[derive(Clone, Copy)]
struct Context<'c> {
    key: &'c str,
    secret: bool,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if document.is_some() => {
                    self.report.error(
                        place(span),
                        "a second document in one file",
                        "put each pipeline into a file of its own",
                    );
                    break;
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    document = Some(self.node(
                        event,
                        span,
                        Context {
                            key: "",
                            secret: false,
                            depth: 0,
                        },
                    )?);
                }
                _ => return Err(fault(place(span), "this belongs to no document", None)),
            }
        }
        if document.is_none() {
            self.report.error(
                Place {
                    line: 1,
                    column: 1,
                    length: 0,
                },
                "the file is empty",
                "start from one of the files under pipelines/",
            );
        }
        Ok(document)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, context: Context<'_>) -> Result<Node, Fault> {
        if context.depth > DEPTH_MAX {
            return Err(fault(place(span), "nested too deeply", None));
        }
        let at = place(span);
        let value = match event {
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    self.report.error(
                        at,
                        "tags such as `!text` have no meaning here",
                        "leave it out: every value is read as its key wants it",
                    );
                }
                let written = self.mask.reveal(text);
                self.scalar(&written, style, span, context)
            }
            Event::SequenceStart(..) => self.list(context)?,
            Event::MappingStart(..) => self.map(context)?,
            Event::Alias(_) => {
                self.report.error(
                    at,
                    "aliases are not supported",
                    "write the value out at each place",
                );
                Value::Broken
            }
            _ => return Err(fault(at, "a value is missing here", None)),
        };
        Ok(Node { place: at, value })
    }

    fn list(&mut self, context: Context<'_>) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.node(
                event,
                span,
                Context {
                    depth: context.depth + 1,
                    ..context
                },
            )?);
        }
    }

    fn map(&mut self, context: Context<'_>) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let depth = context.depth + 1;
            let at = place(span);
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(key, ..) => self.mask.reveal(key),
                other => {
                    self.report
                        .error(at, "a key must be a word", "write `key: value`");
                    self.node(other, span, Context { depth, ..context })?;
                    String::new()
                }
            };
            let (event, span) = self.next()?;
            let secret = context.secret || is_secret(&key, context.key);
            let value = self.node(
                event,
                span,
                Context {
                    key: &key,
                    secret,
                    depth,
                },
            )?;
            if let Some(first) = entries
                .iter()
                .find(|entry| entry.key == key && !key.is_empty())
            {
                let message = format!("`{key}` is here twice");
                self.report.error(
                    at,
                    message,
                    format!(
                        "it is on line {} already: keep one of them",
                        first.place.line
                    ),
                );
            } else if !key.is_empty() {
                entries.push(Entry {
                    key,
                    place: at,
                    value,
                });
            }
        }
    }

    fn scalar(&self, written: &str, style: ScalarStyle, span: Span, context: Context<'_>) -> Value {
        if context.secret && !variables::is_bare(written) {
            let start = (span.start.line(), span.start.col() + 1);
            self.report.hide(Secret {
                start,
                end: (span.end.line(), span.end.col() + 1),
            });
        } else if let Some(host) = written.find("://").filter(|_| written.contains('@')) {
            // `https://user:password@host`
            let start = span.start.col()
                + 1
                + written
                    .get(..host)
                    .map_or(0, |scheme| scheme.chars().count());
            self.report.hide(Secret {
                start: (span.start.line(), start),
                end: (span.end.line(), span.end.col() + 1),
            });
        }
        match variables::expand(written, self.environment) {
            Ok(expanded) => {
                let plain = style == ScalarStyle::Plain;
                let null = expanded.text.is_empty()
                    || plain && matches!(expanded.text.as_str(), "~" | "null");
                Value::Scalar(Scalar {
                    text: expanded.text,
                    null,
                    foreign: expanded.foreign,
                    shown: shown(written, context),
                })
            }
            Err(Trouble::Unset(name)) => {
                let help = format!("set it, or give a default: ${{{name}:-default}}");
                self.report
                    .error(place(span), format!("the variable {name} is not set"), help);
                Value::Broken
            }
            Err(Trouble::Malformed) => {
                let help = "write ${NAME} or ${NAME:-default}; a dollar sign before a brace is $$";
                self.report
                    .error(place(span), "`${` without a name and a closing brace", help);
                Value::Broken
            }
        }
    }

    fn syntax_error(&self, error: &saphyr_parser::ScanError) -> Fault {
        let mut at = Place {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            length: 1,
        };
        // "End of file" is a line behind the last; point at the last one that says something.
        let lines = self.text.lines().count().max(1);
        if at.line > lines {
            let last = self.text.lines().last().unwrap_or_default();
            at = Place {
                line: lines,
                column: last.chars().count().max(1),
                length: 1,
            };
        }
        // There is no tree yet that knows which part of the line is a secret.
        let line = self
            .text
            .lines()
            .nth(at.line.saturating_sub(1))
            .unwrap_or_default();
        if SECRET_KEYS.iter().any(|key| line.contains(key)) {
            self.report.hide(Secret {
                start: (at.line, 1),
                end: (at.line + 1, 1),
            });
        }
        fault(
            at,
            &format!("not YAML: {}", error.info()),
            help(error.info()),
        )
    }
}

/// What the YAML parser's own words mean to a person.
fn help(info: &str) -> Option<&'static str> {
    let known = [
        ("tabs", "indent with spaces"),
        (
            "mapping values",
            "quote values that contain `: `, and give every key a line of its own",
        ),
        (
            "illegal placement of ':'",
            "is a bracket or a quote left open above?",
        ),
        ("quoted scalar", "is the quote closed?"),
        ("flow", "is a bracket or brace left open?"),
        (
            "unexpected character",
            "quote values that start with a special character",
        ),
        (
            "block collection",
            "keys and items of one list or map must start at the same column",
        ),
        (
            "block mapping",
            "keys of one map must start at the same column",
        ),
    ];
    known
        .iter()
        .find(|(part, _)| info.contains(part))
        .map(|(_, help)| *help)
}

/// Of a value as written, what is no secret.
fn shown(written: &str, context: Context<'_>) -> String {
    const HIDDEN: &str = "********";
    if variables::is_bare(written) {
        return written.to_owned();
    }
    if context.secret {
        return HIDDEN.to_owned();
    }
    let Some((scheme, rest)) = written.split_once("://") else {
        return written.to_owned();
    };
    // A webhook's path is often its password.
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host
        .rsplit_once('@')
        .map_or(host.to_owned(), |(_, host)| format!("{HIDDEN}@{host}"));
    match (context.key, path) {
        (_, "") => format!("{scheme}://{host}"),
        ("url", _) => format!("{scheme}://{host}/{HIDDEN}"),
        _ => format!("{scheme}://{host}/{path}"),
    }
}

/// Also true for what is nearly a secret's key, because a mistyped key is what a report shows.
fn is_secret(key: &str, parent: &str) -> bool {
    let key = key.to_lowercase();
    let nearly = |secret: &str| key.contains(secret) || strsim::osa_distance(&key, secret) <= 2;
    let is_file = key.ends_with("_file");
    SECRET_KEYS.iter().any(|secret| nearly(secret)) && !is_file
        || (key == "key" && parent == "hash")
        || parent == "headers"
}

fn place(span: Span) -> Place {
    let length = if span.start.line() == span.end.line() {
        span.len().max(1)
    } else {
        1
    };
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
        length,
    }
}

fn fault(place: Place, message: &str, help: Option<&str>) -> Fault {
    Fault::new(
        Severity::Error,
        Some(place),
        message,
        help.map(str::to_owned),
    )
}
