//! Notifiers are read key by key; what is wrong with them, and that no secret comes out, is in `tests/golden/config`.

use std::time::Duration;

use super::*;
use crate::config::Config;

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2".to_owned()),
        "FOLDER" => Some(env!("CARGO_MANIFEST_DIR").to_owned()),
        _ => None,
    }
}

fn secret(text: &str) -> Secret {
    Secret(text.to_owned())
}

#[test]
fn every_key_of_every_notifier_is_read() {
    let text = include_str!("../../../tests/golden/config/every-key.yml");
    let config = Config::parse("every-key.yml", text, &environment).unwrap();
    let [hook, team, manager, mail, page] = config.notifiers.as_slice() else {
        panic!("{:?}", config.notifiers)
    };
    assert_eq!(
        (hook.name.as_str(), hook.give_up),
        ("hook", Duration::from_hours(6))
    );
    let Kind::Webhook(hook) = &hook.kind else {
        panic!("{hook:?}")
    };
    assert_eq!(hook.target.url, secret("https://hooks.example/modelbeat"));
    assert_eq!(
        hook.target.authorization,
        Authorization::Bearer(secret("hunter2"))
    );
    assert_eq!(hook.target.headers, [("X-Team".to_owned(), secret("risk"))]);
    assert_eq!(hook.target.timeout, Duration::from_secs(30));
    assert!(hook.target.ca.as_ref().unwrap().ends_with("Cargo.toml"));
    assert_eq!(hook.secret, Some(secret("a-secret-of-a-file")));
    assert!(hook.body.is_some());

    let Kind::Slack(slack) = &team.kind else {
        panic!("{team:?}")
    };
    assert_eq!(
        slack.target.url,
        secret("https://hooks.slack.example/services/T0/B0/xyz")
    );
    assert_eq!((team.give_up, slack.target.timeout), (GIVE_UP, TIMEOUT));

    let Kind::Alertmanager(settings) = &manager.kind else {
        panic!("{manager:?}")
    };
    let basic = Authorization::Basic("beat".into(), secret("a-secret-of-a-file"));
    assert_eq!(settings.target.authorization, basic);
    assert_eq!(
        settings.labels,
        BTreeMap::from([("team".into(), "risk".into())])
    );
    assert_eq!(settings.every, Duration::from_secs(30));

    let Kind::Email(settings) = &mail.kind else {
        panic!("{mail:?}")
    };
    assert_eq!(
        (settings.host.as_str(), settings.port),
        ("smtp.example", 465)
    );
    assert_eq!(settings.tls, MailTls::Implicit);
    assert_eq!(
        settings.credentials,
        Some(("beat".into(), secret("hunter2")))
    );
    assert_eq!(settings.from, "modelbeat <beat@models.example>");
    assert_eq!(
        settings.to,
        ["ops@models.example", "Ann <ann@models.example>"]
    );

    let Kind::Exec(settings) = &page.kind else {
        panic!("{page:?}")
    };
    assert_eq!(settings.command, ["/usr/local/bin/page", "--urgent"]);
    assert_eq!(settings.timeout, Duration::from_secs(5));
    assert!(!config.ships_operations);
    let shown = format!("{:?}", config.notifiers);
    for secret in ["hunter2", "a-secret-of-a-file", "hooks.slack.example"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
