//! The page at `/` and its files: written by hand, without a build step, and part of the program. Nothing is asked of any
//! other host, so it works where there is no network.
//!
//! The files hold no data: they need no token, and the page sends one with what it asks. A strict policy keeps a browser
//! from running or loading anything else, should a class or slice be named like a script.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only this host's own files; no script and no style within the page itself. The page's icon is a `data:` image.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const fn file(path: &'static str, kind: &'static str, text: &'static str) -> File {
    File { path, kind, text }
}

static FILES: [File; 8] = [
    file("/", HTML, include_str!("web/index.html")),
    file("/page/page.css", STYLE, include_str!("web/page.css")),
    file("/page/page.js", SCRIPT, include_str!("web/page.js")),
    file("/page/charts.js", SCRIPT, include_str!("web/charts.js")),
    file("/page/tables.js", SCRIPT, include_str!("web/tables.js")),
    file("/page/words.js", SCRIPT, include_str!("web/words.js")),
    file(
        "/page/uplot.js",
        SCRIPT,
        include_str!("web/uplot/uPlot.iife.min.js"),
    ),
    file(
        "/page/uplot.css",
        STYLE,
        include_str!("web/uplot/uPlot.min.css"),
    ),
];

/// A route for each file.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, file| {
        // Another program has other files: asked for again each time, and answered 304.
        let tag = format!("\"{}\"", blake3::hash(file.text.as_bytes()).to_hex());
        router.route(
            file.path,
            get(async move |headers: HeaderMap| answer(file, &tag, &headers)),
        )
    })
}

fn answer(file: &File, tag: &str, headers: &HeaderMap) -> Response {
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let common = [
        fixed(header::CACHE_CONTROL, "no-cache"),
        fixed(header::CONTENT_SECURITY_POLICY, POLICY),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        fixed(header::CONTENT_TYPE, file.kind),
    ];
    let tags = [(header::ETAG, tag.to_owned())];
    if is_same(tag, headers) {
        return (StatusCode::NOT_MODIFIED, common, tags).into_response();
    }
    (common, tags, file.text).into_response()
}

/// Who asks has this already.
pub(super) fn is_same(tag: &str, headers: &HeaderMap) -> bool {
    let known = headers.get(header::IF_NONE_MATCH);
    known.is_some_and(|known| known.as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> impl Iterator<Item = &'static File> {
        FILES.iter().filter(|file| !file.path.contains("uplot"))
    }

    /// What comes from the agent may be named by anybody: it must reach the page as text.
    #[test]
    fn no_script_of_ours_makes_markup_or_code_of_data() {
        let ways = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "createContextualFragment",
            "document.write",
            "DOMParser",
            "srcdoc",
            "eval(",
            "Function(",
            "javascript:",
        ];
        for file in ours() {
            for way in ways {
                assert!(!file.text.contains(way), "{} has `{way}`", file.path);
            }
        }
    }

    /// Else the policy would keep the page from working.
    #[test]
    fn the_page_has_no_script_or_style_within_and_names_nothing_outside() {
        for file in ours() {
            let hosts = file.text.replace("http://www.w3.org/2000/svg", "");
            for outside in ["http://", "https://", "url(", "@import"] {
                assert!(!hosts.contains(outside), "{} names {outside}", file.path);
            }
        }
        let page = FILES[0].text;
        for within in ["<style", " style=", "<script>", " onclick=", " onload="] {
            assert!(!page.contains(within), "{within}");
        }
        let mut named = 0;
        for part in page.split(['"', '\'']) {
            if part.starts_with("/page/") {
                assert!(FILES.iter().any(|file| file.path == part), "{part}");
                named += 1;
            }
        }
        assert_eq!(named, 4, "two sheets and two scripts");
    }

    #[test]
    fn modules_are_served_under_the_names_they_are_imported_by() {
        for file in ours() {
            for line in file.text.lines().filter(|line| line.starts_with("import ")) {
                let from = line.split('"').nth(1).expect("a name");
                let path = from.replace("./", "/page/");
                assert!(FILES.iter().any(|file| file.path == path), "{line}");
            }
        }
    }
}
