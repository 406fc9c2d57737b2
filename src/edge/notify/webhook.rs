//! JSON by POST, signed as Standard Webhooks have it (<https://www.standardwebhooks.com>), so that a receiver has a library for
//! it in any language.
//!
//! `webhook-id` and `Idempotency-Key` are the telling's key, `webhook-timestamp` the second it is sent in, and
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. At least once: a receiver that heeds the
//! key tells once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use super::http::{Receiver, Target};
use super::{Failure, Secret};
use crate::flow::alert::Notice;
use crate::flow::event::Timestamp;
use crate::flow::notify::{Template, item_id, json};

/// `type: webhook`
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSettings {
    /// Where to.
    pub target: Target,
    /// Key of the signature: text, or base64 behind `whsec_`; `None`: no signature.
    pub secret: Option<Secret>,
    /// The body; `None`: the notice.
    pub body: Option<Template>,
}

#[derive(Debug)]
pub(super) struct Webhook {
    receiver: Receiver,
    key: Option<hmac::Key>,
    body: Option<Template>,
}

impl Webhook {
    pub(super) fn open(settings: &WebhookSettings) -> Result<Self, String> {
        let key = settings.secret.as_ref().map(|secret| key(&secret.0));
        Ok(Self {
            receiver: Receiver::open(&settings.target, "")?,
            key: key.transpose()?,
            body: settings.body.clone(),
        })
    }

    pub(super) async fn tell(
        &self,
        notice: &Notice,
        name: &str,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let id = item_id(notice, name);
        let body = match &self.body {
            Some(template) => template.render(notice, &id),
            None => json(notice),
        };
        let body = body.to_string();
        let seconds = now.0.div_euclid(1_000).to_string();
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("idempotency-key", &id);
        put("webhook-id", &id);
        put("webhook-timestamp", &seconds);
        if let Some(key) = &self.key {
            put(
                "webhook-signature",
                &signature(key, &id, &seconds, body.as_bytes()),
            );
        }
        self.receiver.post(headers, body.into_bytes()).await
    }
}

fn key(secret: &str) -> Result<hmac::Key, String> {
    let bytes = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| "its secret is not base64 behind whsec_".to_owned())?,
        None => secret.as_bytes().to_vec(),
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, seconds: &str, body: &[u8]) -> String {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected by Python: `base64.b64encode(hmac.digest(key, b"….….…", "sha256"))`, and by the specification's own example.
    #[track_caller]
    fn check(secret: &str, expect: &str) {
        let key = key(secret).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signature(&key, id, "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, expect);
    }

    #[test]
    fn it_is_signed_as_the_specification_has_it() {
        check(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        );
        check(
            "a plain secret",
            "v1,ENqrYZJfEdejvH41MpDAd0s4SZwl35B0bx0LOnREaDY=",
        );
        assert!(key("whsec_%").is_err());
    }
}
