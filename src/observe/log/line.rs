//! One line of the log, as text for people and as JSON. What peers chose, such as the name of a
//! user, can neither end a line nor command a terminal in either.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::limits::LOG_VALUE_CHARACTERS_MAX;

/// Keys of the JSON that are not free for fields.
const OWN_KEYS: [&str; 4] = ["timestamp", "level", "target", "message"];

/// A line that is being put together: message and fields, each value once and in both forms.
#[derive(Debug)]
pub(super) struct Line {
    timestamp: String,
    level: Level,
    target: String,
    message: String,
    /// The same as a member of the object.
    json_message: String,
    /// Each as ` name=value`.
    fields: String,
    /// Each as `,"name":value`.
    json: String,
    /// Where values are written to before they are known to be harmless.
    scratch: String,
}

impl Line {
    /// A line of now.
    pub(super) fn new(level: Level, target: &str) -> Self {
        let mut timestamp = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        Self {
            timestamp,
            level,
            target: target.to_owned(),
            message: String::new(),
            json_message: String::new(),
            fields: String::new(),
            json: String::new(),
            scratch: String::new(),
        }
    }

    pub(super) fn of(event: &tracing::Event<'_>) -> Self {
        let metadata: &Metadata<'_> = event.metadata();
        let mut line = Self::new(*metadata.level(), metadata.target());
        event.record(&mut line);
        line
    }

    /// Adds a field, or sets the message.
    pub(super) fn add(&mut self, name: &str, value: impl fmt::Display) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut bounded = Bounded { text: &mut scratch, left: LOG_VALUE_CHARACTERS_MAX };
        if write!(bounded, "{value}").is_err() {
            scratch.push('…');
        }
        self.add_text(name, &scratch);
        self.scratch = scratch;
    }

    /// Adds what is the same in both forms.
    pub(super) fn add_literal(&mut self, name: &str, value: impl fmt::Display) {
        self.add_json_key(name);
        let _ = write!(self.json, "{value}");
        let _ = write!(self.fields, " {name}={value}");
    }

    fn add_text(&mut self, name: &str, value: &str) {
        if name == "message" {
            self.message.clear();
            push_escaped(&mut self.message, value);
            self.json_message = json_member("message", value);
            return;
        }
        self.add_json_key(name);
        push_json_string(&mut self.json, value);
        let _ = write!(self.fields, " {name}=");
        if is_one_word(value) {
            self.fields.push_str(value);
        } else {
            self.fields.push('"');
            push_quoted(&mut self.fields, value);
            self.fields.push('"');
        }
    }

    fn add_json_key(&mut self, name: &str) {
        let prefix = if OWN_KEYS.contains(&name) { "field_" } else { "" };
        let _ = write!(self.json, ",\"{prefix}{name}\":");
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Message and fields, of at most so many characters.
    pub(super) fn text(&self, characters_max: usize) -> String {
        self.message.chars().chain(self.fields.chars()).take(characters_max).collect()
    }

    /// For people, with its end.
    pub(super) fn for_people(&self, with_colours: bool) -> String {
        let Self { timestamp, level, target, message, fields, .. } = self;
        if with_colours {
            let colour = colour(*level);
            format!(
                "\x1b[2m{timestamp}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m \
                 \x1b[2m{target}:\x1b[0m {message}{fields}\n"
            )
        } else {
            format!("{timestamp} {level:>5} {target}: {message}{fields}\n")
        }
    }

    /// As a JSON object, with its end.
    pub(super) fn as_json(&self) -> String {
        let Self { timestamp, level, target, json_message, json, .. } = self;
        let mut text = String::with_capacity(128 + json_message.len() + json.len());
        let _ = write!(text, "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\"");
        text.push_str(&json_member("target", target));
        text.push_str(json_message);
        text.push_str(json);
        text.push_str("}\n");
        text
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_literal(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_literal(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_literal(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.add_literal(field.name(), value);
        } else {
            self.add(field.name(), value);
        }
    }
}

/// Text that takes so many characters and then fails, which ends what is being formatted.
struct Bounded<'a> {
    text: &'a mut String,
    left: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(character);
        }
        Ok(())
    }
}

/// Characters that move a cursor, change colours, end lines or turn the direction of writing.
const fn is_harmful(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

/// Whether a value can stand without quotes.
fn is_one_word(value: &str) -> bool {
    let is_plain = |c: char| !(c == ' ' || c == '"' || c == '\\' || c == '=' || is_harmful(c));
    !value.is_empty() && value.chars().all(is_plain)
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        if is_harmful(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

fn push_quoted(out: &mut String, text: &str) {
    for character in text.chars() {
        if is_harmful(character) || matches!(character, '"' | '\\') {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

/// Harmful characters are escaped here, too, since such files are read on terminals. All of them
/// fit four digits.
fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ if is_harmful(character) => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn json_member(name: &str, value: &str) -> String {
    let mut member = format!(",\"{name}\":");
    push_json_string(&mut member, value);
    member
}

const fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str) -> Line {
        let mut line = Line::new(Level::INFO, "ringwire::shard");
        line.add_literal("messages", 7);
        line.add("message", "disconnected");
        line.add("user", user);
        line
    }

    fn parsed(line: &Line) -> serde_json::Value {
        serde_json::from_str(&line.as_json()).expect("a line is JSON")
    }

    #[test]
    fn a_line_has_its_message_before_its_fields() {
        let line = line("ada");
        let text = line.for_people(false);
        assert!(text.ends_with("  INFO ringwire::shard: disconnected messages=7 user=ada\n"));
        let json = parsed(&line);
        assert_eq!(json["message"], "disconnected");
        assert_eq!(json["messages"], 7);
        assert_eq!(json["target"], "ringwire::shard");
        assert_eq!(json["level"], "INFO");
        assert!(json["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert!(line.for_people(true).contains("\x1b[32m INFO\x1b[0m"));
        assert_eq!(line.text(14), "disconnected m");
    }

    #[test]
    fn nothing_a_peer_chose_forges_a_line_or_commands_a_terminal() {
        for user in [
            "eve\n2026-01-01T00:00:00Z ERROR ringwire: forged",
            "eve\r\x1b[2K\x1b]0;title\x07",
            "eve\u{9b}31m\u{202e}\u{2028}\u{2066}\u{feff}\x7f",
            "eve\",\"level\":\"ERROR",
            "eve\" level=error x=\"\\",
            "",
        ] {
            let mut line = line(user);
            line.add("message", user);
            for text in [line.for_people(false), line.as_json()] {
                let (last, rest) = text.split_at(text.len() - 1);
                assert!(!last.chars().any(is_harmful) && rest == "\n", "{text:?}");
            }
            assert_eq!(parsed(&line)["user"], user);
        }
        assert!(line("a b").for_people(false).contains(" user=\"a b\"\n"));
        assert!(line("a=\"b").for_people(false).contains(r#" user="a=\"b""#));
    }

    #[test]
    fn values_are_bounded_and_have_keys_of_their_own() {
        let mut line = line(&"x".repeat(100_000));
        line.add("level", "loud");
        assert!(line.as_json().len() < 1000);
        assert!(line.for_people(false).contains("x…"));
        assert_eq!(parsed(&line)["field_level"], "loud");
        assert_eq!(parsed(&line)["level"], "INFO");
    }
}
