//! Pages and scripts that are part of the program, and what they may do in a browser.

/// A file that is served as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asset {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its content.
    pub body: &'static str,
}

/// Header lines, each with its CRLF, that come with every asset. The pages use nothing from
/// elsewhere and have no inline script or style, so a browser is told to allow none: a text that
/// slipped into the markup would be inert (Content Security Policy Level 3).
///
/// The socket of a page has a scheme of its own, which old browsers do not take as `'self'`.
pub const HEADER_LINES: &str = "\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cache-Control: no-cache\r\n";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The asset at the path of a request.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let (content_type, body) = match path {
        "/" => (HTML, include_str!("index.html")),
        "/page.css" => (CSS, include_str!("page.css")),
        "/page.js" => (SCRIPT, include_str!("page.js")),
        "/client.js" => (SCRIPT, include_str!("../../clients/js/ringwire.js")),
        "/healthz" => (TEXT, "ok"),
        _ => return None,
    };
    Some(Asset { content_type, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_lines_of_a_head() {
        assert_eq!(HEADER_LINES.lines().count(), 4);
        for line in HEADER_LINES.split_inclusive("\r\n") {
            let (name, value) = line.split_once(": ").expect("a line has a name and a value");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'), "{name}");
            assert!(value.ends_with("\r\n") && !value.contains("  "), "{value:?}");
        }
    }

    #[test]
    fn the_page_obeys_its_own_policy() {
        let page = asset("/").expect("there is a page").body;
        for forbidden in ["<style", " style=", " onclick=", " onsubmit=", "http://", "https://"] {
            assert!(!page.contains(forbidden), "{forbidden} in the page");
        }
        let scripts: Vec<&str> = page.split("<script").skip(1).collect();
        assert!(scripts.iter().all(|script| script.contains("></script>")), "{scripts:?}");
    }

    #[test]
    fn what_the_page_names_is_served() {
        for (path, names) in [("/", "/page.css"), ("/", "/page.js"), ("/page.js", "/client.js")] {
            let body = asset(path).expect("the page is served").body;
            assert!(body.contains(&format!("\"{names}\"")), "{path} does not name {names}");
            assert!(asset(names).is_some(), "{names} is not served");
        }
        assert_eq!(asset("/page.html"), None);
    }
}
