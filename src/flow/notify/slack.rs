//! The message of a Slack-compatible webhook (Slack, Mattermost, Rocket.Chat, Discord's `/slack`): `text` and one attachment.

use serde_json::{Value, json};

use super::message::{facts, one_line, title};
use crate::flow::alert::{Change, Notice, Severity};

/// The body to post.
#[must_use]
pub fn slack(notice: &Notice) -> Value {
    let color = match (notice.change, notice.severity) {
        (Change::Resolved, _) => "good",
        (_, Severity::Critical) => "danger",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "#439fe0",
    };
    let fields: Vec<Value> = facts(notice)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": escaped(&value), "short": value.len() < 40 }))
        .collect();
    json!({
        "text": escaped(&title(notice)),
        "attachments": [{
            "color": color,
            "fallback": title(notice),
            "text": escaped(&one_line(&notice.reason)),
            "fields": fields,
            "ts": notice.at.0.div_euclid(1_000),
        }],
    })
}

/// The three characters that Slack reads as its own: a slice's value must not become a link or `<!channel>`.
/// (<https://docs.slack.dev/messaging/formatting-message-text>)
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::notice;
    use super::*;

    #[test]
    fn nothing_in_a_record_can_call_a_whole_channel() {
        let body = slack(&Notice {
            slice: Some(("country".into(), "<!channel> & co".into())),
            ..notice()
        });
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("country=&lt;!channel&gt; &amp; co"), "{text}");
        assert!(!body["attachments"][0]["fields"].to_string().contains('<'));
    }

    #[test]
    fn the_colour_says_how_bad_it_is() {
        let color = |notice: &Notice| slack(notice)["attachments"][0]["color"].clone();
        assert_eq!(color(&notice()), "danger");
        let resolved = Notice {
            change: Change::Resolved,
            ..notice()
        };
        assert_eq!(color(&resolved), "good");
    }
}
