//! A pipeline file: it is taken, or every fault has a place in it.

use modelbeat::config::Config;

pub(crate) fn pipeline(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    let Err(faults) = Config::parse("fuzz.yml", text, &environment) else {
        return;
    };
    assert!(faults.errors() > 0, "refused for a reason");
    let said = faults.to_string();
    assert!(!said.is_empty());
    // YAML ends a line at a lone carriage return, too.
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    for fault in faults.iter() {
        if let Some(place) = fault.place {
            assert!(
                place.line >= 1 && place.line <= lines,
                "line {} of {lines}",
                place.line
            );
            assert!(place.column >= 1, "columns count from 1");
        }
    }
}
