//! The rules of the repository, each with examples that it must catch.

#[path = "tidy/source.rs"]
mod source;

use source::{File, Token, is_word, repository, without_tests};

/// What is wrong, and in which line.
type Fault = (usize, String);

/// What each module may use of the others. All may use themselves, and those not listed may use
/// all but the top of the house.
const ARROWS: [(&str, &[&str]); 12] = [
    ("limits", &[]),
    ("files", &[]),
    ("collections", &[]),
    ("protocol", &["limits"]),
    ("connection", &["protocol", "collections", "limits"]),
    ("hub", &["protocol", "collections", "limits"]),
    ("security", &["collections", "limits"]),
    ("app", &["protocol", "connection", "collections", "hub", "security", "limits"]),
    ("ring", &["limits"]),
    ("tls", &["config", "files", "ring", "limits"]),
    ("cluster", &["config", "hub", "mesh", "limits"]),
    ("mesh", &["protocol", "collections", "ring", "hub", "security", "settings", "limits"]),
];

/// What stands at the top: nothing uses it.
const TOP: [&str; 2] = ["server", "main"];

/// What the load generator may use of the server.
const SHARED: [&str; 5] = ["protocol", "ring", "tls", "collections", "limits"];

/// Folders without I/O, clock, tasks and unsafe code.
const PURE: [&str; 6] = ["protocol", "collections", "connection", "hub", "security", "app"];

#[test]
fn modules_use_only_what_their_arrows_allow() {
    holds(arrows);
    for (path, text) in [
        ("src/collections/slab.rs", "use crate::limits::HEAD_BYTES_MAX;"),
        ("src/protocol/mod.rs", "use crate::{limits, hub::Room};"),
        ("src/protocol/mask.rs", "use super::super::hub::Room;"),
        ("src/hub/room.rs", "fn f() { crate::connection::close(); }"),
        ("src/security/mod.rs", "type A = Vec<crate::app::Chat>;"),
        ("src/ring/mod.rs", "use crate::collections::Key;"),
        ("src/mesh.rs", "use crate::shard::Shard;"),
        ("src/shard/turn.rs", "use crate::server::run;"),
        ("src/shard/turn.rs", "use loadtest::Plan;"),
        ("src/main.rs", "extern crate loadtest;"),
        ("loadtest/src/plan.rs", "use ringwire::{protocol, hub};"),
    ] {
        catches(arrows, path, text);
    }
    for (path, text) in [
        ("src/protocol/mask.rs", "use crate::limits; use crate::protocol::close; use super::utf8;"),
        ("src/collections/slab.rs", "mod tests { use super::super::random::Random; }"),
        ("src/shard/turn.rs", "// Not crate::server::run\nuse crate::{app, ring};"),
        ("loadtest/src/plan.rs", "use ringwire::{protocol, ring::Ring};"),
    ] {
        allows(arrows, path, text);
    }
}

fn arrows(file: &File) -> Vec<Fault> {
    let Some(module) = file.module() else { return uses_of_the_server(file) };
    let mut faults = words(file, |word| word == "loadtest");
    let Some(&module) = module.first() else { return faults };
    let listed = ARROWS.iter().find(|(name, _)| *name == module).map(|(_, targets)| *targets);
    let may_use = |other: &str| match listed {
        Some(targets) => other == module || targets.contains(&other),
        None => other == module || !TOP.contains(&other),
    };
    for path in file.paths() {
        if let [root, other, ..] = &path.segments[..]
            && root == "crate"
            && !may_use(other)
        {
            faults.push((path.line, format!("`{module}` must not use `{other}`")));
        }
    }
    faults
}

fn uses_of_the_server(file: &File) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !file.path.starts_with("loadtest/") {
        return faults;
    }
    for path in file.paths() {
        if let [root, module, ..] = &path.segments[..]
            && root == "ringwire"
            && !SHARED.contains(&module.as_str())
        {
            faults.push((path.line, format!("the load generator must not use `{module}`")));
        }
    }
    faults
}

#[test]
fn the_ring_knows_no_websocket() {
    holds(ring_words);
    for text in [
        "struct Connection;",
        "fn hub_of() {}",
        "let protocol = 1;",
        "/// Of a WebSocket.\nfn f();",
    ] {
        catches(ring_words, "src/ring/mod.rs", text);
    }
    allows(ring_words, "src/ring/mod.rs", "/// One connection.\nErrorKind::ConnectionReset");
    allows(ring_words, "src/ring/mod.rs", "use socket2::Protocol;");
    allows(ring_words, "src/shard/mod.rs", "struct Connection;");
}

fn ring_words(file: &File) -> Vec<Fault> {
    const FOREIGN: [&str; 5] = ["protocol", "connection", "Connection", "hub", "Hub"];
    if !file.path.starts_with("src/ring/") {
        return Vec::new();
    }
    let names_websocket = |line: &str| line.to_lowercase().contains("websocket");
    let mut faults = lines(file, "a WebSocket word", names_websocket);
    faults.extend(words(file, |word| word.split('_').any(|part| FOREIGN.contains(&part))));
    faults
}

#[test]
fn pure_folders_have_no_world() {
    holds(purity);
    for text in [
        "use std::net::TcpStream;",
        "use std::{fmt, io};",
        "fn f() -> std::io::Result<()>;",
        "fn f() { ::std::fs::read(x) }",
        "std::thread::spawn(f)",
        "use std::time::Instant; fn f() { Instant::now(); }",
        "fn f() { std::time::SystemTime::now(); }",
        "async fn f() {}",
        "fn f() { g().await }",
        "use tokio::sync::Notify;",
        "unsafe { f() }",
    ] {
        catches(purity, "src/hub/room.rs", text);
    }
    allows(purity, "src/hub/room.rs", "use std::time::Duration; use core::net::IpAddr; // async");
    allows(purity, "src/shard/turn.rs", "use std::io; fn f() { Instant::now(); }");
}

/// Addresses alone, without sockets, are in `core::net`.
fn purity(file: &File) -> Vec<Fault> {
    const WORLD: [&str; 6] = ["net", "fs", "io", "thread", "env", "process"];
    const WORDS: [&str; 9] = [
        "async",
        "await",
        "unsafe",
        "tokio",
        "tokio_uring",
        "io_uring",
        "rustix",
        "socket2",
        "libc",
    ];
    if !file.module().is_some_and(|module| module.first().is_some_and(|name| PURE.contains(name))) {
        return Vec::new();
    }
    let mut faults = words(file, |word| WORDS.contains(&word));
    for path in file.paths() {
        let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        let is_world = match segments[..] {
            ["std", module, ..] if WORLD.contains(&module) => true,
            [.., "Instant" | "SystemTime", "now"] => true,
            _ => false,
        };
        if is_world {
            faults.push((path.line, format!("`{}` in a pure folder", segments.join("::"))));
        }
    }
    faults
}

#[test]
fn unsafe_code_stays_below_the_ring_and_says_why_it_is_sound() {
    holds(unsafe_fence);
    for (path, text) in [
        ("src/shard/turn.rs", "fn f() { unsafe { g() } }"),
        ("tests/chat.rs", "unsafe impl Send for A {}"),
        ("src/lib.rs", "#[allow(unsafe_code)]\nmod ring;"),
        ("loadtest/src/main.rs", "#![expect(dead_code, unsafe_code)]"),
        ("src/ring/mod.rs", "fn f() {\n    unsafe { g() }\n}"),
        ("src/ring/mod.rs", "// SAFETY: of another.\nf();\nunsafe { g() }"),
        ("src/ring/mod.rs", "// Sound.\nunsafe impl Send for A {}"),
    ] {
        catches(unsafe_fence, path, text);
    }
    for (path, text) in [
        ("src/hub/mod.rs", "#![forbid(unsafe_code)]"),
        ("src/ring/mod.rs", "#![allow(unsafe_code)]\n// SAFETY: g\n// is sound.\nunsafe { g() }"),
        ("src/ring/mod.rs", "// SAFETY: g is sound.\nlet a =\n    unsafe { g() };"),
        ("src/ring/mod.rs", "/// # Safety\n///\n/// None.\nunsafe fn f() {}"),
    ] {
        allows(unsafe_fence, path, text);
    }
}

fn unsafe_fence(file: &File) -> Vec<Fault> {
    let tokens = rust_tokens(file);
    let in_ring = file.path.starts_with("src/ring/");
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let before = |at: usize, back: usize| at.checked_sub(back).map_or("", text);
    let mut faults = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let fault = match token.text {
            "unsafe" if !in_ring => "unsafe code outside of src/ring",
            "unsafe" if matches!(text(at + 1), "{" | "impl") && !has_reason(file, token.line) => {
                "no `SAFETY:` comment above"
            }
            "unsafe_code" if !in_ring && !matches!(before(at, 2), "forbid" | "deny") => {
                "unsafe code is let in outside of src/ring"
            }
            _ => continue,
        };
        faults.push((token.line, fault.to_owned()));
    }
    faults
}

/// Whether the statement that this line belongs to has a `SAFETY:` comment directly above.
fn has_reason(file: &File, line: usize) -> bool {
    let above: Vec<&str> = file.text.lines().take(line - 1).map(str::trim).collect();
    let ends_statement = |line: &&&str| line.ends_with([';', '{', '}', ',']) || line.is_empty();
    above
        .iter()
        .rev()
        .skip_while(|line| !line.starts_with("//") && !ends_statement(line))
        .take_while(|line| line.starts_with("//"))
        .any(|line| line.starts_with("// SAFETY:"))
}

#[test]
fn nothing_is_left_half_done() {
    holds(leftovers);
    let mark = format!("// {FIX_ME}: later");
    for text in ["todo!()", "unimplemented!(\"x\")", "dbg!(x)", "#[test]\n#[ignore]", &mark] {
        catches(leftovers, "src/x.rs", text);
    }
    catches(leftovers, "tests/x.rs", "#[ignore = \"slow\"]");
    allows(leftovers, "src/x.rs", "// No todo!\nlet ignore = \"dbg!(x)\";");
}

/// Not written in one piece: this file obeys its rules, too.
const FIX_ME: &str = concat!("FIX", "ME");

fn leftovers(file: &File) -> Vec<Fault> {
    if !file.is_rust() {
        return Vec::new();
    }
    let tokens = rust_tokens(file);
    let mut faults = lines(file, "a reminder", |line| line.contains(FIX_ME));
    for window in tokens.windows(3) {
        let fault = match [window[0].text, window[1].text, window[2].text] {
            [name @ ("todo" | "unimplemented" | "dbg"), "!", _] => format!("`{name}!`"),
            ["#", "[", "ignore"] => "an ignored test".to_owned(),
            _ => continue,
        };
        faults.push((window[0].line, fault));
    }
    faults
}

#[test]
fn every_source_file_says_what_it_is_for() {
    holds(heading);
    catches(heading, "src/x.rs", "use std::fmt;\n//! Late.");
    catches(heading, "benches/x.rs", "");
    allows(heading, "src/x.rs", "//! One concern.\n");
}

fn heading(file: &File) -> Vec<Fault> {
    let is_missing = file.is_rust() && !file.text.starts_with("//! ");
    is_missing
        .then(|| (1, "the file must begin with a `//!` line".to_owned()))
        .into_iter()
        .collect()
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    holds(places);
    for folder in PLACES {
        catches(places, "docs/USE.md", &format!("run it in /{folder}/x"));
        catches(places, "src/x.rs", &format!("//! x\n\nopen(\"/{folder}/x\")"));
        allows(places, "README.md", &format!("https://example.org/{folder}/x and ./{folder}/x"));
    }
}

/// Folders of somebody's own.
const PLACES: [&str; 5] = ["home", "root", "work", "Users", "tmp/wt"];

fn places(file: &File) -> Vec<Fault> {
    let folders = PLACES.map(|folder| format!("/{folder}/"));
    let begins_path = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-~/}".contains(before))
    };
    lines(file, "a place on one machine", |line| {
        folders.iter().any(|folder| line.match_indices(folder).any(|(at, _)| begins_path(line, at)))
    })
}

#[test]
fn sources_fit_the_page() {
    holds(page);
    for text in ["\tlet x;", "let x; ", &"x".repeat(101), &"x\n".repeat(501)] {
        catches(page, "src/x.rs", text);
    }
    catches(page, "tests/x.rs", &"x\n".repeat(701));
    allows(page, "tests/x.rs", &"x\n".repeat(700));
    allows(page, "src/x.rs", &"é".repeat(100));
}

fn page(file: &File) -> Vec<Fault> {
    const COLUMNS_MAX: usize = 100;
    if !file.is_rust() {
        return Vec::new();
    }
    let is_test = file.path.split('/').any(|part| matches!(part, "tests" | "tests.rs"));
    let lines_max = if is_test { 700 } else { 500 };
    let mut faults = lines(file, "a tab, or a space at the end", |line| {
        line.contains('\t') || line.ends_with(char::is_whitespace)
    });
    faults
        .extend(lines(file, "longer than 100 columns", |line| line.chars().count() > COLUMNS_MAX));
    let count = file.text.lines().count();
    if count > lines_max {
        faults.push((count, format!("more than {lines_max} lines: give it one concern")));
    }
    faults
}

#[test]
fn errors_are_not_unwrapped_outside_of_tests() {
    holds(unwraps);
    catches(unwraps, "src/x.rs", "fn f() { g().unwrap(); }");
    catches(unwraps, "src/x.rs", "#[cfg(test)]\nmod tests {}\nfn f() { g()\n.unwrap() }");
    catches(unwraps, "loadtest/src/x.rs", "fn f() { g().unwrap(); }");
    for (path, text) in [
        ("src/x.rs", "#[cfg(test)]\nmod tests { fn f([u8; 2]) { if g() {} h().unwrap() } }"),
        ("src/x.rs", "#[cfg(test)]\nuse a::b;\n/// `.unwrap()`\nfn f() { g().unwrap_or(0); }"),
        ("src/x/tests.rs", "fn f() { g().unwrap(); }"),
        ("tests/x.rs", "fn f() { g().unwrap(); }"),
    ] {
        allows(unwraps, path, text);
    }
}

/// What is compiled for tests only is a file or folder called `tests`, or marked `#[cfg(test)]`.
fn unwraps(file: &File) -> Vec<Fault> {
    let is_program = file.path.starts_with("src/") || file.path.starts_with("loadtest/src/");
    if !is_program || file.path.split('/').any(|part| matches!(part, "tests" | "tests.rs")) {
        return Vec::new();
    }
    without_tests(&rust_tokens(file))
        .windows(4)
        .filter(|window| window.iter().map(|token| token.text).eq([".", "unwrap", "(", ")"]))
        .map(|window| (window[0].line, "`.unwrap()`: return the error, or `expect`".to_owned()))
        .collect()
}

#[test]
fn every_dependency_has_its_reason() {
    holds(reasons);
    for text in [
        "[dependencies]\nserde = \"1\"",
        "[workspace.dependencies]\n# Reports.\nserde = \"1\"\n\nclap = { version = \"4\" }",
        "[target.'cfg(unix)'.dev-dependencies]\nlibc = \"0.2\"",
        "[dependencies.serde]\nversion = \"1\"",
    ] {
        catches(reasons, "Cargo.toml", text);
    }
    for text in [
        "[package]\nname = \"a\"\n\n[dependencies]\nown = { path = \".\" }\nserde.workspace = true",
        "[dependencies]\n# Reports.\nserde = { features = [\n  \"rc\",\n] }\nserde_json = \"1\"",
        "# Reports.\n[dependencies.serde]\nversion = \"1\"",
    ] {
        allows(reasons, "fuzz/Cargo.toml", text);
    }
}

/// The reason is a comment above the crate, or above the group of lines that it is in.
fn reasons(file: &File) -> Vec<Fault> {
    if file.path.rsplit('/').next() != Some("Cargo.toml") {
        return Vec::new();
    }
    let (mut faults, mut in_table, mut has_reason) = (Vec::new(), false, false);
    for (number, line) in file.lines() {
        let names_crate = if line.starts_with('[') {
            in_table = line.ends_with("dependencies]");
            line.contains("dependencies.")
        } else {
            let has_own = line.contains("path = ") || line.contains("workspace = true");
            in_table && line.starts_with(char::is_alphanumeric) && !has_own
        };
        if names_crate && !has_reason {
            faults.push((number, format!("no reason above `{line}`")));
        }
        let goes_on = has_reason && !line.is_empty() && !line.starts_with('[');
        has_reason = line.starts_with('#') || goes_on;
    }
    faults
}

/// Fails with every place of the repository that breaks the rule.
#[track_caller]
fn holds(rule: fn(&File) -> Vec<Fault>) {
    let mut report = String::new();
    for file in repository() {
        for (line, what) in rule(&file) {
            report.push_str(&format!("\n{}:{line}: {what}", file.path));
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[track_caller]
fn catches(rule: fn(&File) -> Vec<Fault>, path: &str, text: &str) {
    assert!(!rule(&File::new(path, text)).is_empty(), "not caught in {path}: {text}");
}

#[track_caller]
fn allows(rule: fn(&File) -> Vec<Fault>, path: &str, text: &str) {
    assert_eq!(rule(&File::new(path, text)), [], "caught in {path}: {text}");
}

/// A fault for every line like this.
fn lines(file: &File, what: &str, is_fault: impl Fn(&str) -> bool) -> Vec<Fault> {
    let faulty = file.lines().filter(|(_, line)| is_fault(line));
    faulty.map(|(line, _)| (line, what.to_owned())).collect()
}

/// A fault for every word of the code like this.
fn words(file: &File, is_fault: impl Fn(&str) -> bool) -> Vec<Fault> {
    rust_tokens(file)
        .iter()
        .filter(|token| is_word(token.text) && is_fault(token.text))
        .map(|token| (token.line, format!("the word `{}`", token.text)))
        .collect()
}

fn rust_tokens(file: &File) -> Vec<Token<'_>> {
    if file.is_rust() { file.tokens() } else { Vec::new() }
}
