//! Reads the repository: its files, and of Rust files the words and paths of the code alone.

use std::path::Path;
use std::process::Command;

/// A text file, with its path from the root of the repository.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

/// A word or a mark of the code. Comments and literals give none.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// A path of two segments or more, written out: `use a::{b, c}` holds two. What belongs to the
/// crate begins with `crate`, however it is written.
pub(super) struct CodePath {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

/// Text files that git knows or would take in.
pub(super) fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git lists the files: install it");
    let problem = String::from_utf8_lossy(&listing.stderr);
    assert!(listing.status.success(), "run this in a checkout: {problem}");
    let names = String::from_utf8(listing.stdout).expect("file names are UTF-8");
    let files: Vec<File> = names
        .split_terminator('\0')
        .filter_map(|path| {
            // What cannot be read is deleted, a link to nowhere, or not text.
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            (!text.contains('\0')).then(|| File { path: path.to_owned(), text })
        })
        .collect();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the listing misses the sources");
    files
}

impl File {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The module that a file below `src/` is: `["protocol", "mask"]`.
    pub(super) fn module(&self) -> Option<Vec<&str>> {
        let mut module: Vec<&str> =
            self.path.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').collect();
        module.pop_if(|name| matches!(*name, "mod" | "lib" | "main"));
        Some(module)
    }

    pub(super) fn tokens(&self) -> Vec<Token<'_>> {
        let (mut tokens, mut rest, mut line) = (Vec::new(), self.text.as_str(), 1);
        while !rest.is_empty() {
            let (length, is_code) = lexeme(rest);
            let (text, after) = rest.split_at(length);
            if is_code {
                tokens.push(Token { line, text });
            }
            line += text.matches('\n').count();
            rest = after;
        }
        tokens
    }

    pub(super) fn paths(&self) -> Vec<CodePath> {
        let tokens = self.tokens();
        let mut reader = PathReader { tokens: &tokens, found: Vec::new() };
        let mut module: Vec<&str> = vec!["crate"];
        module.extend(self.module().unwrap_or_default());
        let (mut at, mut depth, mut inline) = (0, 0, Vec::new());
        let mut paths = Vec::new();
        while at < tokens.len() {
            match tokens[at].text {
                "{" => {
                    depth += 1;
                    if at >= 2 && tokens[at - 2].text == "mod" {
                        module.push(tokens[at - 1].text);
                        inline.push(depth);
                    }
                }
                "}" => {
                    if inline.pop_if(|opened| *opened == depth).is_some() {
                        module.pop();
                    }
                    depth -= 1;
                }
                text if is_word(text) && reader.text(at + 1) == "::" => {
                    at = reader.read(at, Vec::new());
                    for (line, path) in reader.found.drain(..) {
                        paths.push(CodePath { line, segments: absolute(&path, &module) });
                    }
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }
}

/// Tokens outside of what is compiled for tests only.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(|token| token.text).take(MARK.len()).eq(MARK) {
            at = end_of_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Where the item is over: after its block, or its semicolon if it has none.
fn end_of_item(tokens: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text, "}" | ";") {
            return at + 1;
        }
    }
    tokens.len()
}

/// Whether this is a name, a keyword or a number.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

struct PathReader<'a> {
    tokens: &'a [Token<'a>],
    found: Vec<(usize, Vec<&'a str>)>,
}

impl<'a> PathReader<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    /// Reads the path, or the tree of them, that begins here; gives the place behind it.
    fn read(&mut self, mut at: usize, mut path: Vec<&'a str>) -> usize {
        while is_word(self.text(at)) {
            path.push(self.text(at));
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        if self.text(at) == "{" && self.text(at - 1) == "::" {
            return self.read_group(at + 1, &path);
        }
        self.found.push((self.tokens[at - 1].line, path));
        at
    }

    fn read_group(&mut self, mut at: usize, path: &[&'a str]) -> usize {
        while at < self.tokens.len() && self.text(at) != "}" {
            at = match self.text(at) {
                "as" => at + 2,
                word if is_word(word) => self.read(at, path.to_vec()),
                _ => at + 1,
            };
        }
        at + 1
    }
}

/// The path from the root of the crate, if it begins with `self` or `super`.
fn absolute(path: &[&str], module: &[&str]) -> Vec<String> {
    let path = path.strip_prefix(&["use"]).unwrap_or(path);
    let up = path.iter().take_while(|segment| **segment == "super").count();
    let (base, rest) = match path.first() {
        Some(&"super") => (&module[..module.len().saturating_sub(up)], &path[up..]),
        Some(&"self") => (module, &path[1..]),
        _ => (&[][..], path),
    };
    base.iter().chain(rest).map(|segment| (*segment).to_owned()).collect()
}

/// Length of what comes first, and whether it is code.
fn lexeme(rest: &str) -> (usize, bool) {
    let first = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), false)
    } else if rest.starts_with("/*") {
        (block_comment(rest), false)
    } else if let Some(length) = string(rest).or_else(|| character(rest)) {
        (length, false)
    } else if is_word(rest) {
        let is_part = |part: char| part.is_alphanumeric() || part == '_';
        (rest.find(|part| !is_part(part)).unwrap_or(rest.len()), true)
    } else if rest.starts_with("::") {
        (2, true)
    } else {
        (first, !rest.starts_with(char::is_whitespace))
    }
}

/// Length of a comment that may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step.0;
        depth += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a string literal of any kind.
fn string(rest: &str) -> Option<usize> {
    let unprefixed = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix = &rest[..rest.len() - unprefixed.len()];
    let is_raw = prefix.ends_with('r');
    let body = unprefixed.trim_start_matches('#');
    let hashes = unprefixed.len() - body.len();
    if prefix.len() > 2 || !body.starts_with('"') || (hashes > 0 && !is_raw) {
        return None;
    }
    let start = prefix.len() + hashes + 1;
    if is_raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    let mut escaped = false;
    let end = rest[start..].find(|part| {
        let ends = part == '"' && !escaped;
        escaped = part == '\\' && !escaped;
        ends
    });
    Some(end.map_or(rest.len(), |at| start + at + 1))
}

/// Length of a character literal, or of the mark of a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut parts = body.char_indices();
    let (_, first) = parts.next()?;
    if first == '\\' {
        let end = body[2..].find('\'').map_or(body.len(), |at| at + 3);
        return Some(1 + end);
    }
    let is_literal = parts.next().is_some_and(|(_, second)| second == '\'');
    Some(if is_literal { first.len_utf8() + 2 } else { 1 })
}

#[test]
fn comments_and_literals_are_not_code() {
    let file = File::new(
        "src/x.rs",
        r###"
        //! a
        /* b /* c */ d */ fn e<'f>(g: &'f str) { h("i \" j", 'k', '\'', '"', b"l", r#"m " n"#) }
        "###,
    );
    let words: Vec<&str> =
        file.tokens().iter().map(|token| token.text).filter(|text| is_word(text)).collect();
    assert_eq!(words, ["fn", "e", "f", "g", "f", "str", "h"]);
}

#[test]
fn paths_are_written_out() {
    let file = File::new(
        "src/a/b.rs",
        "use ::std::{io, fs::{self, File as F}};
        use super::c::*;
        mod tests { mod deep { fn f() { super::super::super::super::d::e(); } } }
        fn f() -> Vec<crate::g::H> { Vec::<self::i::J>::new(super::super::k::L { m: 1 }) }",
    );
    let paths: Vec<(usize, String)> =
        file.paths().iter().map(|path| (path.line, path.segments.join("::"))).collect();
    let expected = [
        (1, "std::io"),
        (1, "std::fs::self"),
        (1, "std::fs::File"),
        (2, "crate::a::c"),
        (3, "crate::d::e"),
        (4, "crate::g::H"),
        (4, "Vec"),
        (4, "crate::a::b::i::J"),
        (4, "crate::k::L"),
    ];
    assert_eq!(paths, expected.map(|(line, path)| (line, path.to_owned())));
}
