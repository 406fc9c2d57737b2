//! Mail by SMTP. At least once: SMTP knows no key, but `Message-ID` is the same each time, and mail stores that know it show one.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, MessageId, References};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Failure, Secret};
use crate::flow::alert::Notice;
use crate::flow::notify::{item_id, text, title};

/// `type: email`
#[derive(Clone, Debug, PartialEq)]
pub struct MailSettings {
    /// Host of the SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: MailTls,
    /// PEM file of the authority that signed the server's certificate, beside the system's.
    pub ca: Option<PathBuf>,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
    /// The sender.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// A server that does not answer a command for so long has failed.
    pub timeout: Duration,
}

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// After `STARTTLS`, which the server must know.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    None,
}

#[derive(Debug)]
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// True if this is an address, with or without a name before it.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

impl Mail {
    pub(super) fn open(settings: &MailSettings) -> Result<Self, String> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("`{text}` is no mail address: {error}"))
        };
        let from = mailbox(&settings.from)?;
        let to: Result<Vec<_>, _> = settings.to.iter().map(mailbox).collect();
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
                .port(settings.port)
                .timeout(Some(settings.timeout))
                .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        builder = match settings.tls {
            MailTls::None => builder,
            MailTls::StartTls => builder.tls(Tls::Required(tls(settings)?)),
            MailTls::Implicit => builder.tls(Tls::Wrapper(tls(settings)?)),
        };
        if let Some((user, password)) = &settings.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.0.clone()));
        }
        Ok(Self {
            transport: builder.build(),
            from,
            to: to?,
        })
    }

    pub(super) async fn tell(&self, notice: &Notice, name: &str) -> Result<String, Failure> {
        let message = self
            .message(notice, name)
            .map_err(|error| Failure::Refused {
                why: format!("no mail can be made of it: {error}"),
            })?;
        match self.transport.send(message).await {
            Ok(answer) => {
                let said: Vec<&str> = answer.message().collect();
                Ok(format!("{} {}", answer.code(), said.join(" ")))
            }
            Err(error) => Err(failure(&error)),
        }
    }

    fn message(&self, notice: &Notice, name: &str) -> Result<Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let at = u64::try_from(notice.at.0).unwrap_or(0);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(title(notice))
            .date(UNIX_EPOCH + Duration::from_millis(at))
            .header(MessageId::from(format!(
                "<{}@{domain}>",
                item_id(notice, name)
            )))
            // All mails of an alert are one thread.
            .header(References::from(format!(
                "<{}.{name}@{domain}>",
                notice.alert_id
            )))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(text(notice))
    }
}

fn tls(settings: &MailSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca {
        let cannot = |why: String| format!("ca {}: {why}", path.display());
        let pem = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|_| cannot("it holds no PEM certificate".to_owned()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| error.to_string())
}

/// What the server said no to decides: an address that it does not know will never do, a wrong password somebody mends.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let mut words = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !words.iter().any(|word| word.contains(&said)) {
            words.push(said);
        }
        cause = next.source();
    }
    let why: String = words
        .join(": ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let code = error.status().map_or(0, u16::from);
    // 530, 534, 535, 538: RFC 4954, authentication; 500 to 504: RFC 5321, not the mail's fault.
    let is_ours_to_mend = matches!(code, 500..=504 | 530 | 534 | 535 | 538);
    if error.is_permanent() && !is_ours_to_mend {
        return Failure::Refused { why };
    }
    Failure::again(why)
}

#[cfg(test)]
mod tests {
    use super::super::outbox::sample;
    use super::*;

    #[test]
    fn a_mail_is_the_same_each_time_it_is_made() {
        let mail = Mail::open(&MailSettings {
            host: "localhost".into(),
            port: 25,
            tls: MailTls::None,
            ca: None,
            credentials: None,
            from: "modelbeat <beat@models.example>".into(),
            to: vec![
                "ops@models.example".into(),
                "Ann <ann@models.example>".into(),
            ],
            timeout: Duration::from_secs(1),
        })
        .unwrap();
        let notice = Notice {
            rule: "Rückruf\r\nBcc: x@y".into(),
            ..sample("abc", 1)
        };
        let made =
            || String::from_utf8(mail.message(&notice, "mail").unwrap().formatted()).unwrap();
        let text = made();
        assert_eq!(text, made());
        assert!(
            text.contains("\r\nMessage-ID: <abc.1.mail@models.example>\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nReferences: <abc.mail@models.example>\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nDate: Tue, 24 Nov 2026 10:00:05 +0000\r\n"),
            "{text}"
        );
        assert!(!text.contains("\r\nBcc"), "{text}");
    }
}
