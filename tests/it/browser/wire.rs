//! The `DevTools` protocol: JSON messages, a NUL behind each. Commands have numbers and answers; events come in between.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};

use crate::wait::DEADLINE;

pub(super) struct Wire {
    to: ChildStdin,
    from: Receiver<Value>,
    commands: u64,
    events: VecDeque<Value>,
}

impl Wire {
    pub(super) fn new(to: ChildStdin, from: ChildStdout) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            to,
            from: receiver,
            commands: 0,
            events: VecDeque::new(),
        }
    }

    /// The answer to a command; no session: to the browser itself.
    pub(super) fn call(
        &mut self,
        session: &str,
        method: &str,
        options: &Value,
    ) -> Result<Value, String> {
        self.commands += 1;
        let mut command = json!({ "id": self.commands, "method": method, "params": options });
        if !session.is_empty() {
            command["sessionId"] = session.into();
        }
        let sent = self.to.write_all(format!("{command}\0").as_bytes());
        sent.map_err(|why| format!("the browser is gone: {why}"))?;
        loop {
            let message = self.from.recv_timeout(DEADLINE);
            let message = message.map_err(|why| format!("no answer from the browser: {why}"))?;
            if message["id"] == self.commands {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    why => Err(why["message"].to_string()),
                };
            }
            self.events.push_back(message);
        }
    }

    /// What happened before the last answer, once.
    pub(super) fn events(&mut self) -> impl Iterator<Item = Value> {
        self.events.drain(..)
    }
}
