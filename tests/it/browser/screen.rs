//! What a person has: a keyboard, a screen of some size, a liking for the dark, a screen reader, a camera.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Page;

impl Page {
    /// A key, down and up: `Tab`, `Enter`, `Space`.
    #[track_caller]
    pub(crate) fn press(&mut self, name: &str) {
        let (key, number, text) = match name {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            other => panic!("the keyboard has no {other}"),
        };
        let mut stroke = json!({ "type": "keyDown", "key": key, "code": name, "windowsVirtualKeyCode": number, "text": text });
        self.command("Input.dispatchKeyEvent", &stroke);
        stroke["type"] = "keyUp".into();
        self.command("Input.dispatchKeyEvent", &stroke);
    }

    /// Text, put in where the cursor is.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        self.command("Input.insertText", &json!({ "text": text }));
    }

    /// A screen of this many CSS pixels.
    #[track_caller]
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let phone = width < 600;
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.command("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// What the system says about light and dark.
    #[track_caller]
    pub(crate) fn dark(&mut self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    }

    /// What a screen reader finds: role and name of every node that has a role.
    #[track_caller]
    pub(crate) fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.command("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().expect("nodes");
        let seen = nodes.iter().filter(|node| node["ignored"] == false);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        seen.map(|node| (text(&node["role"]["value"]), text(&node["name"]["value"])))
            .collect()
    }

    /// What the screen shows, as PNG.
    #[track_caller]
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let taken = self.command("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = taken["data"].as_str().expect("a picture");
        STANDARD.decode(data).expect("base64")
    }
}
