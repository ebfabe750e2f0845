//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).

use std::borrow::Cow;

/// An element of the list: a name, and parameters that were not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'a> {
    pub(super) name: &'a str,
    parameters: Cursor<'a>,
}

/// A parameter and its value: a token, or a quoted string without its quotes and escapes.
pub(super) type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

/// The elements of one field. A field that breaks the grammar anywhere has none: what its sender
/// meant cannot be known.
pub(super) fn extensions(field: &str) -> impl Iterator<Item = Extension<'_>> {
    let is_valid = Elements(Cursor(field)).all(|element| element.is_some());
    let elements = is_valid.then_some(Elements(Cursor(field)));
    elements.into_iter().flatten().flatten()
}

impl<'a> Extension<'a> {
    pub(super) fn parameters(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let mut rest = self.parameters;
        std::iter::from_fn(move || rest.parameter().flatten())
    }
}

/// The elements of a list; `None` and the end where one breaks the grammar.
struct Elements<'a>(Cursor<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Option<Extension<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty elements are allowed (RFC 9110 section 5.6.1).
        while self.0.takes(',') {}
        if self.0.is_at_end() {
            return None;
        }
        let element = self.0.extension();
        if element.is_none() {
            self.0 = Cursor("");
        }
        Some(element)
    }
}

/// What is still to be read.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// An element and what separates it from the next.
    fn extension(&mut self) -> Option<Extension<'a>> {
        let name = self.token()?;
        let parameters = *self;
        while self.parameter()?.is_some() {}
        (self.is_at_end() || self.takes(',')).then_some(Extension { name, parameters })
    }

    /// The next parameter, if there is one; `None` where the grammar is broken.
    fn parameter(&mut self) -> Option<Option<Parameter<'a>>> {
        if !self.takes(';') {
            return Some(None);
        }
        let name = self.token()?;
        let value = if !self.takes('=') {
            None
        } else if self.takes('"') {
            Some(self.quoted()?)
        } else {
            Some(Cow::Borrowed(self.token()?))
        };
        Some(Some((name, value)))
    }

    fn token(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let is_token =
            |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
        let end = self.0.find(|char| !is_token(char)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The rest of a quoted string.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let end = self.0.find(['"', '\\'])?;
        let (plain, rest) = self.0.split_at(end);
        if let Some(rest) = rest.strip_prefix('"') {
            self.0 = rest;
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        let mut chars = rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => text.push(chars.next()?),
                char => text.push(char),
            }
        }
        self.0 = chars.as_str();
        Some(Cow::Owned(text))
    }

    fn takes(&mut self, separator: char) -> bool {
        self.skip_blanks();
        let rest = self.0.strip_prefix(separator);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The field as it is understood, in one spelling.
    fn read(field: &str) -> String {
        let element = |extension: Extension<'_>| {
            let parameters = extension.parameters().map(|(name, value)| match value {
                Some(value) => format!(";{name}={value}"),
                None => format!(";{name}"),
            });
            format!("{}{}", extension.name, parameters.collect::<String>())
        };
        extensions(field).map(element).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_field_is_a_list_of_names_with_parameters() {
        for (field, expected) in [
            ("a", "a"),
            ("a,b", "a b"),
            (" ,, a ,\t, b,", "a b"),
            ("a;b;c=d , e", "a;b;c=d e"),
            ("a ; b\t= c;d =\"e\"", "a;b=c;d=e"),
            (r#"a;b="c,d;e=\"\\";f"#, r#"a;b=c,d;e="\;f"#),
            (r#"a;b="""#, "a;b="),
            (r#"a;b="x\y",c"#, "a;b=xy c"),
            ("", ""),
            (" , ", ""),
        ] {
            assert_eq!(read(field), expected, "{field}");
        }
    }

    #[test]
    fn a_field_that_breaks_the_grammar_says_nothing() {
        for field in [
            "a;",
            "a;;b",
            ";a",
            "a b",
            "a;b=",
            "a;b=;c",
            "a=b",
            "a;=b",
            "a;b=\"c",
            "a;b=\"c\\",
            "a;b=\"c\"d",
            "a;b c",
            "a;b=c d",
            "a/b",
            "é",
            "a;b=é",
            "b,a;",
            "a\r\nb",
        ] {
            assert_eq!(read(field), "", "{field}");
        }
    }
}
