//! Telling people of alerts, the part that needs no world: who is still to be told of what ([`Queue`]), and in which words
//! (one file a form). `edge::notify` makes the queue durable and carries the words.

mod alertmanager;
mod message;
mod queue;
mod slack;
mod template;

pub use alertmanager::{Posted, post};
pub use message::{item_id, json, text, title};
pub use queue::{Name, Queue, Record};
pub use slack::slack;
pub use template::{FIELDS, Template, TemplateFault};
