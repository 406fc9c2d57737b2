//! `notify:`: who is told of alerts, and how. Rules name notifiers by `name`.
//!
//! Secrets come from the environment or a file, never from the pipeline file itself, which lies in repositories.

#![expect(
    clippy::option_option,
    reason = "a key is absent, or faulty and reported, or there"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use reqwest::Url;

use crate::config::existing_file;
use crate::config::item::Item;
use crate::config::output::is_local;
use crate::config::section::Section;
use crate::config::values::{self, Complaint};
use crate::edge::notify::{
    AlertmanagerSettings, Authorization, ExecSettings, GIVE_UP, Kind, MailSettings, MailTls,
    Secret, Settings, SlackSettings, TIMEOUT, Target, WebhookSettings, is_address,
};
use crate::flow::notify::{FIELDS, Template, TemplateFault};

/// Far more ways than anybody wants to be told by.
const NOTIFIERS_MAX: usize = 64;

/// Recipients of a mail, arguments of a program, headers, labels.
const ITEMS_MAX: usize = 64;

/// A secret in a file is a line.
const SECRET_BYTES_MAX: u64 = 64 << 10;

const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Copy)]
enum Type {
    Webhook,
    Slack,
    Alertmanager,
    Email,
    Exec,
}

/// All notifiers; their names differ.
pub(super) fn read(item: Item<'_>) -> Option<Vec<Settings>> {
    let mut notifiers = Vec::new();
    let mut names = BTreeSet::new();
    let mut whole = true;
    for item in item.list(NOTIFIERS_MAX)? {
        match item.section().and_then(|section| one(section, &mut names)) {
            Some(settings) => notifiers.push(settings),
            None => whole = false,
        }
    }
    whole.then_some(notifiers)
}

fn one(mut section: Section<'_>, names: &mut BTreeSet<String>) -> Option<Settings> {
    let name = section.require("name").and_then(|item| {
        let read = item.clone().parse("a name", name)?;
        if names.contains(&read) {
            item.fault(
                format!("two notifiers are named `{read}`"),
                "give each a name of its own: rules name them by it",
            );
            return None;
        }
        names.insert(read.clone());
        Some(read)
    });
    let give_up = section
        .get("give_up")
        .and_then(|item| item.duration(Duration::from_mins(1)..=7 * DAY))
        .unwrap_or(GIVE_UP);
    let kind = section.require("type").and_then(|item| {
        item.one_of(&[
            ("webhook", Type::Webhook),
            ("slack", Type::Slack),
            ("alertmanager", Type::Alertmanager),
            ("email", Type::Email),
            ("exec", Type::Exec),
        ])
    })?;
    let timeout = section
        .get("timeout")
        .and_then(|item| item.duration(Duration::from_secs(1)..=Duration::from_mins(5)))
        .unwrap_or(TIMEOUT);
    let kind = match kind {
        Type::Webhook => webhook(section.called("notify.webhook"), timeout).map(Kind::Webhook),
        Type::Slack => slack(section.called("notify.slack"), timeout).map(Kind::Slack),
        Type::Alertmanager => {
            alertmanager(section.called("notify.alertmanager"), timeout).map(Kind::Alertmanager)
        }
        Type::Email => email(section.called("notify.email"), timeout).map(Kind::Email),
        Type::Exec => exec(section.called("notify.exec"), timeout).map(Kind::Exec),
    };
    Some(Settings {
        name: name?,
        give_up,
        kind: kind?,
    })
}

fn webhook(mut section: Section<'_>, timeout: Duration) -> Option<WebhookSettings> {
    let target = target(&mut section, Address::MayBeWritten, timeout);
    let token = secret(&mut section, "token", "token_file");
    let key = secret(&mut section, "secret", "secret_file");
    let headers = section.get("headers").map(headers);
    let body = section
        .get("body")
        .map(|item| item.parse("JSON, as text", template));
    section.finish();
    let mut target = target?;
    target.headers = missing_or(headers)?.unwrap_or_default();
    if let Some(token) = token? {
        target.authorization = Authorization::Bearer(token);
    }
    Some(WebhookSettings {
        target,
        secret: key?,
        body: missing_or(body)?,
    })
}

fn slack(mut section: Section<'_>, timeout: Duration) -> Option<SlackSettings> {
    let target = target(&mut section, Address::IsSecret, timeout);
    section.finish();
    Some(SlackSettings { target: target? })
}

fn alertmanager(mut section: Section<'_>, timeout: Duration) -> Option<AlertmanagerSettings> {
    let target = target(&mut section, Address::MayBeWritten, timeout);
    let token = secret(&mut section, "token", "token_file");
    let user = user(&mut section);
    let labels = section.get("labels").map(labels);
    let every = section
        .get("every")
        .and_then(|item| item.duration(Duration::from_secs(1)..=Duration::from_hours(1)));
    section.finish();
    let mut target = target?;
    match (user?, token?) {
        (Some((user, password)), _) => target.authorization = Authorization::Basic(user, password),
        (None, Some(token)) => target.authorization = Authorization::Bearer(token),
        (None, None) => {}
    }
    Some(AlertmanagerSettings {
        target,
        labels: missing_or(labels)?.unwrap_or_default(),
        every: every.unwrap_or(Duration::from_mins(1)),
    })
}

fn email(mut section: Section<'_>, timeout: Duration) -> Option<MailSettings> {
    let server = section
        .require("server")
        .and_then(|item| item.parse("a host and a port", server));
    let tls_item = section.get("tls");
    let tls = tls_item.clone().map(|item| {
        item.one_of(&[
            ("starttls", MailTls::StartTls),
            ("implicit", MailTls::Implicit),
            ("none", MailTls::None),
        ])
    });
    let ca = section.get("ca").map(existing_file);
    let user = user(&mut section);
    let from = section
        .require("from")
        .and_then(|item| item.parse("a mail address", address));
    let to = section.require("to").and_then(|item| {
        let items = item.list(ITEMS_MAX)?;
        let read: Vec<_> = items
            .into_iter()
            .map(|item| item.parse("a mail address", address))
            .collect();
        read.into_iter().collect::<Option<Vec<_>>>()
    });
    section.finish();
    let (host, port) = server?;
    let credentials = user?;
    let tls = missing_or(tls)?.unwrap_or(MailTls::StartTls);
    if let Some(item) = tls_item.filter(|_| tls == MailTls::None && credentials.is_some())
        && !is_loopback(&host)
    {
        item.warn(
            "the password travels unencrypted",
            "use `starttls` or `implicit`",
        );
    }
    Some(MailSettings {
        host,
        port,
        tls,
        ca: missing_or(ca)?,
        credentials,
        from: from?,
        to: to?,
        timeout,
    })
}

fn exec(mut section: Section<'_>, timeout: Duration) -> Option<ExecSettings> {
    let command = section.require("command").and_then(|item| {
        if item.word().is_some() {
            item.fault(
                "`command` must be a list: it is never given to a shell",
                "write `command: [/usr/local/bin/page, --urgent]`",
            );
            return None;
        }
        let items = item.list(ITEMS_MAX)?;
        let read: Vec<_> = items.into_iter().map(Item::text).collect();
        read.into_iter().collect::<Option<Vec<_>>>()
    });
    section.finish();
    Some(ExecSettings {
        command: command?,
        timeout,
    })
}

/// Whether a URL may stand in the pipeline file.
#[derive(Clone, Copy, PartialEq)]
enum Address {
    MayBeWritten,
    IsSecret,
}

fn target(section: &mut Section<'_>, kind: Address, timeout: Duration) -> Option<Target> {
    let written = section.get("url");
    let url = match kind {
        Address::IsSecret => secret(section, "url", "url_file"),
        Address::MayBeWritten => match written.clone() {
            Some(item) => {
                section.get("url_file");
                item.secret().map(|url| Some(Secret(url)))
            }
            None => secret(section, "url", "url_file"),
        },
    };
    let ca = section.get("ca").map(existing_file);
    let Some(url) = url? else {
        section.fault("`url` is missing", "add `url:` or `url_file:`");
        return None;
    };
    let place = written.or_else(|| section.get("url_file"));
    match (checked(&url.0), place) {
        (Ok(parsed), Some(item)) if parsed.scheme() == "http" && !is_local(&parsed) => {
            item.warn("notices travel unencrypted", "use https");
        }
        (Err(complaint), Some(item)) => {
            item.fault(
                format!("the value of `{}` {}", item.key(), complaint.what),
                complaint.help,
            );
            return None;
        }
        _ => {}
    }
    Some(Target {
        url,
        authorization: Authorization::None,
        headers: Vec::new(),
        ca: missing_or(ca)?,
        timeout,
    })
}

fn checked(text: &str) -> Result<Url, Complaint> {
    values::url(
        text,
        "write http:// or https://, a host, and what is behind it",
        "write them as `token:`, or as `username:` and `password:` where these are known",
    )
}

/// User and password, both or neither.
fn user(section: &mut Section<'_>) -> Option<Option<(String, Secret)>> {
    let username = section.get("username");
    let password = secret(section, "password", "password_file")?;
    match (username, password) {
        (Some(item), Some(password)) => Some(Some((item.text()?, password))),
        (Some(item), None) => {
            item.fault(
                "`username` without `password`",
                "add `password: ${PASSWORD}` or `password_file:`",
            );
            None
        }
        (None, Some(_)) => {
            section.fault("`password` without `username`", "add `username:`");
            None
        }
        (None, None) => Some(None),
    }
}

/// A secret from a variable, or from the file that another key names. The outer `None`: its faults are reported.
fn secret(
    section: &mut Section<'_>,
    key: &'static str,
    file_key: &'static str,
) -> Option<Option<Secret>> {
    let (item, file) = (section.get(key), section.get(file_key));
    match (item, file) {
        (None, None) => Some(None),
        (Some(_), Some(file)) => {
            file.fault(format!("both `{key}` and `{file_key}`"), "keep one of them");
            None
        }
        (Some(item), None) if !item.is_foreign() => {
            item.hide();
            item.fault(
                format!("`{key}` stands in the pipeline file itself"),
                format!("write `{key}: ${{NAME}}` and set that variable, or `{file_key}:`"),
            );
            None
        }
        (Some(item), None) => item.secret().map(|text| Some(Secret(text))),
        (None, Some(file)) => file
            .parse("a path", secret_in_file)
            .map(|secret| Some(Secret(secret))),
    }
}

/// What stands in a file, without the line feed at its end.
fn secret_in_file(path: &str) -> Result<String, Complaint> {
    let help = "give the path of a file that holds the secret, and nothing else";
    let cannot = |why: String| Complaint::new(format!("cannot be read: {why}"), help);
    let file = std::fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| cannot(error.to_string()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Complaint::new("holds nothing, or more than a line", help));
    }
    Ok(text.to_owned())
}

fn headers(item: Item<'_>) -> Option<Vec<(String, Secret)>> {
    let entries = item.entries()?;
    let read = entries.into_iter().map(|(name, _, item)| {
        let value = item.clone().secret();
        if reqwest::header::HeaderName::try_from(name).is_err() {
            item.fault(
                format!("`{name}` is no name for a header"),
                "write letters, digits and `-`",
            );
            return None;
        }
        Some((name.to_owned(), Secret(value?)))
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

/// Labels as Prometheus knows them.
fn labels(item: Item<'_>) -> Option<BTreeMap<String, String>> {
    let entries = item.entries()?;
    let read = entries.into_iter().map(|(name, _, item)| {
        let value = item.clone().text();
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            item.fault(
                format!("`{name}` is no name for a label"),
                "write letters, digits and `_`, no digit first",
            );
            return None;
        }
        Some((name.to_owned(), value?))
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

fn template(text: &str) -> Result<Template, Complaint> {
    Template::parse(text).map_err(|fault| match fault {
        TemplateFault::NotJson(why) => Complaint::new(
            format!("is not JSON: {why}"),
            "write JSON with {{field}} inside its texts, such as {\"summary\": \"{{title}}\"}",
        ),
        TemplateFault::NoField(name) => Complaint::new(
            format!("names `{name}`, which a notice has not"),
            values::did_you_mean(&name, &FIELDS)
                .unwrap_or_else(|| format!("known here: {}", FIELDS.join(", "))),
        ),
    })
}

fn server(text: &str) -> Result<(String, u16), Complaint> {
    let complaint = || {
        Complaint::new(
            "is no host and port",
            "write both, such as smtp.example:587 (587 for `starttls`, 465 for `implicit`)",
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(complaint)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() && !host.contains(['/', '@', ' ']) => {
            Ok((host.to_owned(), port))
        }
        _ => Err(complaint()),
    }
}

fn address(text: &str) -> Result<String, Complaint> {
    if is_address(text) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        "is no mail address",
        "write ops@example.org or \"Ops <ops@example.org>\"",
    ))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// It is the name of an errand's key, of a label, and of an SMTP id.
fn name(text: &str) -> Result<String, Complaint> {
    let fits = !text.is_empty() && text.len() <= 64;
    if fits
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        "is no name for a notifier",
        "write at most 64 letters, digits, `-` and `_`",
    ))
}

/// A key that is not there is no fault; one whose faults are reported is.
fn missing_or<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

#[cfg(test)]
mod tests;
