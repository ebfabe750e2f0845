//! What may pass for an HS256 secret: nothing that everybody may know.
//!
//! Whoever knows the secret can sign. So a public key that is not in PEM must not be taken for one,
//! whatever its form; a file of random bytes, or of their hex or base64, always is.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::der::{self, INTEGER, SEQUENCE};
use crate::limits::SECRET_BYTES_MIN;

/// Bytes of the shortest public key: the `SubjectPublicKeyInfo` of Ed25519 (RFC 8410 section 4).
const KEY_BYTES_MIN: usize = 44;

/// What the names of keys for SSH begin with.
const SSH_KINDS: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The secret in a file: all of it but one line ending.
///
/// # Errors
/// What is wrong with the file and what to do, without a byte of it.
pub(super) fn read_secret(file: &[u8]) -> Result<&[u8], String> {
    let secret = file.strip_suffix(b"\n").unwrap_or(file);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.is_empty() {
        return Err("is empty".to_owned());
    }
    if let Some(reason) = why_known(file) {
        return Err(reason.to_owned());
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "holds an HS256 secret of {} bytes: it needs {SECRET_BYTES_MIN} or more \
             (RFC 7518 section 3.2), such as from: openssl rand -hex 32",
            secret.len()
        ));
    }
    Ok(secret)
}

/// Why these bytes look like something that is no secret, and what to give instead.
fn why_known(bytes: &[u8]) -> Option<&'static str> {
    if is_key(bytes) {
        return Some(
            "is a key in DER: convert it to PEM (openssl pkey -pubin -inform DER -in FILE)",
        );
    }
    let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    if has(b"BEGIN ") || has(b"--BEGIN") {
        return Some(
            "has a line with BEGIN, as a key in text form, but is no PEM file: convert it to PEM \
             (ssh-keygen -i -m RFC4716 -f FILE | ssh-keygen -e -m PKCS8 -f /dev/stdin)",
        );
    }
    // Of 32 random bytes 8 are NUL once in 10^12 times.
    if bytes.iter().filter(|&&byte| byte == 0).count() * 4 >= bytes.len() {
        return Some("is text in UTF-16, or not random: save a key as plain ASCII text in PEM");
    }
    why_known_text(str::from_utf8(bytes).ok()?)
}

fn why_known_text(text: &str) -> Option<&'static str> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Some("begins with a byte order mark: save it as plain ASCII text");
    }
    let text = text.trim();
    if text.starts_with(['{', '[', '<']) {
        return Some(
            "begins like a document in JSON or XML, such as a JWKS: give the public key in it as a \
             PEM file",
        );
    }
    let mut words = text.split_whitespace();
    if words.clone().count() > 1 && SSH_KINDS.iter().any(|kind| text.starts_with(kind)) {
        return Some("is a public key for SSH: convert it to PEM (ssh-keygen -e -m PKCS8 -f FILE)");
    }
    let joined: String = words.clone().collect();
    if is_encoded_key(&joined) || words.any(is_encoded_key) {
        return Some(
            "is a key in base64 or hex: make it a PEM file, that is, its DER in base64 between \
             -----BEGIN PUBLIC KEY----- and -----END PUBLIC KEY-----",
        );
    }
    (text.contains("Public-Key:") || text.contains("Modulus"))
        .then_some("describes a key in words: give the key itself, as a PEM file")
}

/// Whether this is a key in base64, base64url or hex.
fn is_encoded_key(text: &str) -> bool {
    let base64 = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone);
    let decoded = GeneralPurpose::new(&alphabet::STANDARD, config).decode(base64);
    decoded.is_ok_and(|bytes| is_key(&bytes)) || from_hex(text).is_some_and(|bytes| is_key(&bytes))
}

/// The bytes of hex digits, with colons between them or without.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|character| *character != ':')
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    Some(
        digits?
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect(),
    )
}

/// Whether these bytes begin with a key, or a certificate, in DER or in the form of SSH (RFC 4253
/// section 6.6). What follows does not matter: it would not make a secret of it.
fn is_key(bytes: &[u8]) -> bool {
    if let [0, 0, 0, _, name @ ..] = bytes {
        return SSH_KINDS.iter().any(|kind| name.starts_with(kind.as_bytes()));
    }
    let Some((SEQUENCE, content, rest)) = der::element(bytes) else { return false };
    bytes.len() - rest.len() >= KEY_BYTES_MIN
        && matches!(der::element(content), Some((SEQUENCE | INTEGER, ..)))
        && der::is_elements(content)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;
    use crate::collections::random::Random;

    const PEMS: [&str; 4] = [
        include_str!("../../tests/keys/rsa.public.pem"),
        include_str!("../../tests/keys/rsa.pkcs1.pem"),
        include_str!("../../tests/keys/p256.public.pem"),
        include_str!("../../tests/keys/ed25519.public.pem"),
    ];

    /// The lines of a PEM file between those with its label.
    fn body(pem: &str) -> String {
        pem.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect()
    }

    fn der(pem: &str) -> Vec<u8> {
        STANDARD.decode(body(pem).replace('\n', "")).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn utf16(text: &str, byte_order_mark: bool) -> Vec<u8> {
        let mark = byte_order_mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }

    fn ssh_blob(kind: &str, key: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, kind.len() as u8], kind.as_bytes(), &[0, 0, 0, key.len() as u8], key].concat()
    }

    fn refusal(file: &[u8]) -> String {
        let shown = String::from_utf8_lossy(file);
        read_secret(file).expect_err(&shown)
    }

    #[test]
    fn a_key_is_no_secret_in_any_form() {
        for pem in PEMS {
            let (der, base64) = (der(pem), body(pem));
            let one_line = base64.replace('\n', "");
            let colons: Vec<String> = der.iter().map(|byte| format!("{byte:02X}")).collect();
            for (form, file, expected) in [
                ("DER", der.clone(), "in DER"),
                ("DER, line feed behind it", [&der[..], b"\n"].concat(), "in DER"),
                ("DER, bytes behind it", [&der[..], &[7; 100]].concat(), "in DER"),
                ("body", base64.clone().into(), "in base64"),
                ("body, CR LF", base64.replace('\n', "\r\n").into(), "in base64"),
                ("body, one line", one_line.clone().into(), "in base64"),
                ("body, a name before it", format!("key: {one_line}").into(), "in base64"),
                ("base64url", URL_SAFE_NO_PAD.encode(&der).into(), "in base64"),
                ("padded", format!("{}==\n", one_line.trim_end_matches('=')).into(), "in base64"),
                ("hex", hex(&der).into(), "or hex"),
                ("hex, colons", colons.join(":").into(), "or hex"),
                ("UTF-16", utf16(pem, true), "UTF-16"),
                ("UTF-16, no mark", utf16(pem, false), "UTF-16"),
                ("body in UTF-16", utf16(&base64, true), "UTF-16"),
                ("body, UTF-8 mark", format!("\u{feff}{base64}").into(), "byte order mark"),
                ("four dashes", pem.replace("-----", "---- ").into(), "BEGIN"),
                ("no dashes", pem.replace('-', "").into(), "BEGIN"),
            ] {
                let error = refusal(&file);
                assert!(error.contains(expected), "{form}: {error}");
            }
        }
    }

    #[test]
    fn a_der_key_that_ends_like_a_line_is_still_one() {
        let mut der = der(PEMS[3]);
        *der.last_mut().unwrap() = b'\n';
        assert!(refusal(&der).contains("in DER"));
    }

    #[test]
    fn keys_for_ssh_and_documents_are_no_secrets() {
        for kind in ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"]
        {
            let blob = ssh_blob(kind, &[0x5a; 32]);
            let base64 = STANDARD.encode(&blob);
            let rfc4716 = format!("---- BEGIN SSH2 PUBLIC KEY ----\n{base64}\n---- END SSH2 …\n");
            assert!(refusal(format!("{kind} {base64} ada@example").as_bytes()).contains("for SSH"));
            assert!(refusal(format!("a.example {kind} {base64}").as_bytes()).contains("in base64"));
            assert!(refusal(base64.as_bytes()).contains("in base64"));
            assert!(refusal(&blob).contains("in DER"));
            assert!(refusal(rfc4716.as_bytes()).contains("BEGIN"));
        }
        for (document, expected) in [
            (r#" {"keys":[{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZpt","e":"AQAB"}]}"#, "JWKS"),
            (r#"[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7"}]"#, "JWKS"),
            ("<RSAKeyValue><Modulus>0vx7agoebGcQSuuPiLJXZpt</Modulus>", "XML"),
            ("Public-Key: (2048 bit)\nModulus:\n    00:b4:25:73:9b:be", "in words"),
        ] {
            assert!(refusal(document.as_bytes()).contains(expected), "{document}");
        }
    }

    #[test]
    fn random_bytes_are_a_secret_in_any_form() {
        let mut random = Random::new(1);
        for round in 0..5_000 {
            let length = 32 + random.below(225) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            let base64 = STANDARD.encode(&bytes);
            let lines: Vec<&str> =
                base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
            for file in [
                bytes.clone(),
                hex(&bytes).into(),
                hex(&bytes).to_uppercase().into(),
                base64.clone().into(),
                URL_SAFE_NO_PAD.encode(&bytes).into(),
                lines.join("\n").into(),
            ] {
                let lines = [&file[..], b"\r\n"].concat();
                assert_eq!(read_secret(&lines), Ok(&file[..]), "round {round}: {file:02x?}");
            }
        }
    }

    #[test]
    fn what_only_begins_like_a_key_is_a_secret() {
        // A SEQUENCE whose length fits, as one in a thousand secrets begins: what is in it decides.
        let mut random = Random::new(2);
        for _ in 0..5_000 {
            let mut bytes: Vec<u8> = (0..64).map(|_| random.below(256) as u8).collect();
            (bytes[0], bytes[1], bytes[2]) = (SEQUENCE, 60, 0x04);
            assert!(read_secret(&bytes).is_ok(), "{bytes:02x?}");
        }
        for secret in
            ["correct horse {battery} [staple] <begin>", "ssh-is-what-base64url-may-begin-w"]
        {
            assert_eq!(read_secret(secret.as_bytes()), Ok(secret.as_bytes()));
        }
    }
}
