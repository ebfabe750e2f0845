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

/// The same as names and values.
pub fn headers() -> impl Iterator<Item = (&'static str, &'static str)> {
    HEADER_LINES.lines().filter_map(|line| line.split_once(": "))
}

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

/// The asset at the path of a request to the admin listener: the dashboard, with its scripts. They
/// need no token: it is the page that asks for one.
#[must_use]
pub fn dashboard_asset(path: &str) -> Option<Asset> {
    let (content_type, body) = match path {
        "/" => (HTML, include_str!("dashboard.html")),
        "/dashboard.css" => (CSS, include_str!("dashboard.css")),
        "/dashboard.js" => (SCRIPT, include_str!("dashboard.js")),
        "/dashboard_charts.js" => (SCRIPT, include_str!("dashboard_charts.js")),
        "/dashboard_dom.js" => (SCRIPT, include_str!("dashboard_dom.js")),
        "/dashboard_feed.js" => (SCRIPT, include_str!("dashboard_feed.js")),
        "/dashboard_format.js" => (SCRIPT, include_str!("dashboard_format.js")),
        "/dashboard_shards.js" => (SCRIPT, include_str!("dashboard_shards.js")),
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
        assert_eq!(headers().count(), 4);
        for line in HEADER_LINES.split_inclusive("\r\n") {
            let (name, value) = line.split_once(": ").expect("a line has a name and a value");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-'), "{name}");
            assert!(value.ends_with("\r\n") && !value.contains("  "), "{value:?}");
        }
    }

    #[test]
    fn the_pages_obey_their_own_policy() {
        for page in [asset("/"), dashboard_asset("/")] {
            let page = page.expect("there is a page").body;
            let inline = ["<style", " style=", " onclick=", " onsubmit=", "http://", "https://"];
            for forbidden in inline {
                assert!(!page.contains(forbidden), "{forbidden} in the page");
            }
            let scripts: Vec<&str> = page.split("<script").skip(1).collect();
            assert!(scripts.iter().all(|script| script.contains("></script>")), "{scripts:?}");
        }
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

    #[test]
    fn what_the_dashboard_names_is_served() {
        let mut named = vec!["/"];
        let mut index = 0;
        while let Some(path) = named.get(index) {
            let body = dashboard_asset(path).unwrap_or_else(|| panic!("{path} is not served")).body;
            // Whole paths between quotes; those of the API are the admin listener's own.
            let quoted = body.split('"').filter(|text| text.starts_with("/dashboard"));
            let new: Vec<&str> = quoted.filter(|text| !named.contains(text)).collect();
            named.extend(new);
            index += 1;
        }
        named.sort_unstable();
        named.dedup();
        assert_eq!(named.len(), 8, "{named:?}");
        assert_eq!(dashboard_asset("/dashboard.html"), None);
    }
}
