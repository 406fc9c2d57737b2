//! Notices that were given up, told once more. Driven by `dead-letters retry`.

use super::{Notifier, Settings};
use crate::edge::now::now;
use crate::flow::alert::Notice;
use crate::flow::document::DeadLetter;

/// Tells a given-up notice once, under the key that it had. Returns what the receiver answered.
///
/// # Errors
/// Why it was not told, in words.
pub async fn tell_again(letter: &DeadLetter, notifiers: &[Settings]) -> Result<String, String> {
    let name = letter.notifier.as_deref().unwrap_or_default();
    let settings = notifiers.iter().find(|settings| settings.name == name);
    let settings = settings.ok_or_else(|| {
        format!("there is no notifier `{name}` under `notify` in the pipeline file")
    })?;
    let notice: Notice = serde_json::from_str(&letter.text)
        .map_err(|error| format!("the letter holds no notice: {error}"))?;
    let notifier = Notifier::open(settings).map_err(|error| error.to_string())?;
    let said = notifier.tell(&notice, now()).await;
    said.map_err(|failure| format!("`{name}` was not told: {}", failure.why()))
}
