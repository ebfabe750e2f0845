//! What a proxy says of those it speaks for.

use super::head::{Fields, elements};

/// The addresses that the head of a request names as those it came from, the nearest first: the
/// elements of all `X-Forwarded-For` from the last to the first or, where there is none, those of
/// `X-Real-IP`. They are not looked at, and anybody can write them: it is up to the caller whose
/// word to take.
///
/// The head need not be valid, only whole.
pub fn forwarded_for(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    const NAMES: [&str; 2] = ["x-forwarded-for", "x-real-ip"];
    let addresses = |name| Fields::of(head).values(name).flat_map(elements);
    let name = NAMES.into_iter().find(|name| addresses(name).next().is_some());
    name.into_iter().flat_map(move |name| addresses(name).rev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_over_all_fields() {
        for (lines, expected) in [
            ("", ""),
            ("X-Forwarded-For: a", "a"),
            ("X-Forwarded-For: a, b:1 ,c", "c b:1 a"),
            ("x-forwarded-for:a,b\r\nCookie: x=1, 2\r\nX-FORWARDED-FOR: c", "c b a"),
            ("X-Forwarded-For: ,a,,b,", "b a"),
            ("X-Real-IP: a", "a"),
            ("X-Real-IP: a\r\nX-Forwarded-For: b", "b"),
            ("X-Forwarded-For: \r\nX-Real-IP: a\r\nX-Forwarded-For: ,", "a"),
            ("X-Forwarded-For : a\r\nX-Forwarded: b\r\nForwarded: for=c", ""),
        ] {
            let head = format!("GET /?X-Forwarded-For:z HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
            let found: Vec<_> =
                forwarded_for(head.as_bytes()).map(String::from_utf8_lossy).collect();
            assert_eq!(found.join(" "), expected, "{lines}");
        }
        assert_eq!(forwarded_for(b"").count(), 0);
        assert_eq!(forwarded_for(b"\r\n\r\n").count(), 0);
    }
}
