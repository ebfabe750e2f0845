//! Secrets of the command line, which a report must not show.

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Parts of the names of header fields and query parameters that carry secrets.
const SECRET_NAMES: [&str; 10] = [
    "apikey",
    "api-key",
    "api_key",
    "auth",
    "cookie",
    "jwt",
    "pass",
    "secret",
    "signature",
    "token",
];

/// `url` with the values of its secret parameters replaced.
pub(crate) fn url(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{before}?{}", parameters.join("&"))
}

/// The words of a command line with the secrets of headers and URLs replaced.
pub(crate) fn command(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut flag = String::new();
    let mut redacted = Vec::new();
    for word in words {
        let safe = match word.split_once('=') {
            Some((name @ ("--header" | "--url"), value)) => {
                format!("{name}={}", value_of(name, value))
            }
            _ => value_of(&flag, &word),
        };
        redacted.push(safe);
        flag = word;
    }
    redacted
}

fn value_of(flag: &str, value: &str) -> String {
    match flag {
        "--header" => header(value),
        "--url" => value.split(',').map(url).collect::<Vec<_>>().join(","),
        _ => value.to_owned(),
    }
}

fn header(line: &str) -> String {
    match line.split_once(':') {
        Some((name, _)) if is_secret(name) => format!("{name}: {REDACTED}"),
        _ => line.to_owned(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "key" || SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_parameters_lose_their_values() {
        assert_eq!(url("ws://a/b?x=1&access_token=s&y"), "ws://a/b?x=1&access_token=[redacted]&y");
        assert_eq!(url("ws://a/token=1"), "ws://a/token=1");
    }

    #[test]
    fn secrets_are_found_in_both_forms_of_a_flag() {
        let words = [
            "loadtest",
            "--header",
            "Authorization: Bearer s",
            "--header=Cookie: s",
            "--header",
            "Origin: http://a",
            "--url",
            "ws://a/?token=s,ws://b/?key=s",
            "--url=ws://c/?Password=s&n=1",
            "--size",
            "5",
        ];
        let expected = [
            "loadtest",
            "--header",
            "Authorization: [redacted]",
            "--header=Cookie: [redacted]",
            "--header",
            "Origin: http://a",
            "--url",
            "ws://a/?token=[redacted],ws://b/?key=[redacted]",
            "--url=ws://c/?Password=[redacted]&n=1",
            "--size",
            "5",
        ];
        assert_eq!(command(words.map(str::to_owned)), expected);
    }
}
