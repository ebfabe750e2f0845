//! Tests of tokens and of the keys that verify them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_700_000_000;

const SECRET: &[u8] = include_bytes!("../../../tests/keys/hs256.secret");
const RSA: &[u8] = include_bytes!("../../../tests/keys/rsa.public.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/rsa.private.pem");
const RSA_PKCS1: &[u8] = include_bytes!("../../../tests/keys/rsa.pkcs1.pem");
const P256: &[u8] = include_bytes!("../../../tests/keys/p256.public.pem");
const P256_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/p256.private.pem");
const ED25519: &[u8] = include_bytes!("../../../tests/keys/ed25519.public.pem");
const ED25519_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/ed25519.private.pem");

fn verifier(files: &[&[u8]]) -> TokenVerifier {
    TokenVerifier::new(files).expect("the keys are good")
}

fn hs256(claims: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("the key is for the algorithm")
}

/// A token whose header and claims are written out, signed with the secret.
fn written(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("HS256 signs all"))
}

#[test]
fn every_kind_of_key_verifies_its_algorithm_and_no_other() {
    let ada = json!({ "sub": "Ada" });
    let rsa = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    let p256 = EncodingKey::from_ec_pem(P256_PRIVATE).unwrap();
    let ed25519 = EncodingKey::from_ed_pem(ED25519_PRIVATE).unwrap();
    let tokens = [
        (&[SECRET][..], hs256(&ada)),
        (&[RSA, RSA_PKCS1], sign(Algorithm::RS256, &rsa, &ada)),
        (&[P256], sign(Algorithm::ES256, &p256, &ada)),
        (&[ED25519], sign(Algorithm::EdDSA, &ed25519, &ada)),
    ];
    for (index, (keys, token)) in tokens.iter().enumerate() {
        for key in *keys {
            let identity = verifier(&[key]).verify(token, NOW).expect("the signature is good");
            assert_eq!((&*identity.user, identity.expires), ("Ada", None));
        }
        for (other, (keys, _)) in tokens.iter().enumerate() {
            if other != index {
                assert_eq!(verifier(keys).verify(token, NOW), Err(TokenError::Algorithm));
            }
        }
    }
    let all = verifier(&[SECRET, P256, RSA, ED25519]);
    assert!(tokens.iter().all(|(_, token)| all.verify(token, NOW).is_ok()));
    let stronger = sign(Algorithm::PS256, &rsa, &ada);
    assert_eq!(all.verify(&stronger, NOW), Err(TokenError::Algorithm));
    assert_eq!(format!("{all:?}"), "[HS256, ES256, RS256, EdDSA]");
}

#[test]
fn keys_of_one_algorithm_are_tried_in_turn() {
    let other = b"another secret of the tests, as well known\n";
    let ada = hs256(&json!({ "sub": "Ada" }));
    assert!(verifier(&[other, SECRET]).verify(&ada, NOW).is_ok());
    assert_eq!(verifier(&[other]).verify(&ada, NOW), Err(TokenError::Signature));
    let bare = EncodingKey::from_secret(other.trim_ascii_end());
    let bob = sign(Algorithm::HS256, &bare, &json!({ "sub": "Bob" }));
    assert!(verifier(&[SECRET, other]).verify(&bob, NOW).is_ok(), "the line feed is no part of it");
}

#[test]
fn the_header_cannot_choose_the_key() {
    let verifier = verifier(&[RSA, P256, ED25519]);
    for public in [RSA, P256, ED25519] {
        // HS256 with what everybody knows as its secret.
        let forged =
            sign(Algorithm::HS256, &EncodingKey::from_secret(public), &json!({ "sub": "root" }));
        assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Algorithm));
    }
    for algorithm in ["none", "None", "hs256", ""] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = written(&header, r#"{"sub":"root"}"#);
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        for token in [format!("{unsigned}."), token.clone()] {
            assert_eq!(verifier.verify(&token, NOW), Err(TokenError::Malformed), "{algorithm}");
        }
    }
}

#[test]
fn bad_claims_are_refused() {
    let verifier = verifier(&[SECRET]);
    let claims = |claims: Value| verifier.verify(&hs256(&claims), NOW);
    for (bad, error) in [
        (json!({}), TokenError::Claims),
        (json!({ "sub": 7 }), TokenError::Claims),
        (json!({ "sub": null }), TokenError::Claims),
        (json!({ "sub": ["Ada"] }), TokenError::Claims),
        (json!({ "sub": "" }), TokenError::Claims),
        (json!({ "sub": "a".repeat(51) }), TokenError::Claims),
        (json!({ "sub": "a\u{0}b" }), TokenError::Claims),
        (json!(["sub"]), TokenError::Claims),
        (json!({ "sub": "Ada", "exp": NOW }), TokenError::Expired),
        (json!({ "sub": "Ada", "exp": 0 }), TokenError::Expired),
        (json!({ "sub": "Ada", "exp": -5 }), TokenError::Expired),
        (json!({ "sub": "Ada", "exp": NOW as f64 + 0.5 }), TokenError::Expired),
        (json!({ "sub": "Ada", "exp": "9999999999" }), TokenError::Claims),
        (json!({ "sub": "Ada", "exp": null }), TokenError::Claims),
        (json!({ "sub": "Ada", "nbf": NOW + 1 }), TokenError::NotYetValid),
        (json!({ "sub": "Ada", "nbf": NOW as f64 + 0.5 }), TokenError::NotYetValid),
        (json!({ "sub": "Ada", "nbf": "soon" }), TokenError::Claims),
    ] {
        assert_eq!(claims(bad.clone()), Err(error), "{bad}");
    }
    let good = json!({ "sub": "é".repeat(50), "exp": NOW + 1, "nbf": NOW, "aud": "x", "iss": 1 });
    assert_eq!(claims(good).unwrap().expires, Some(NOW + 1));
    let duplicate = written(r#"{"alg":"HS256"}"#, r#"{"sub":"Ada","sub":"root"}"#);
    assert_eq!(verifier.verify(&duplicate, NOW), Err(TokenError::Claims));
}

#[test]
fn bad_forms_are_refused() {
    let verifier = verifier(&[SECRET]);
    let good = hs256(&json!({ "sub": "Ada" }));
    let (message, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.x"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        good[1..].to_owned(),
        format!("{message}.{}", &signature[1..]),
        format!("{message}.%41{}", &signature[1..]),
        format!("{message}.{}", signature.to_ascii_lowercase()),
        "é.é.é".to_owned(),
        written(r#"{"alg":"HS256","crit":["exp"],"exp":"1"}"#, r#"{"sub":"Ada"}"#),
    ] {
        let error = verifier.verify(&bad, NOW).expect_err(&bad);
        assert!(matches!(error, TokenError::Malformed | TokenError::Signature), "{bad}: {error:?}");
    }
    for end in 0..good.len() {
        assert!(verifier.verify(&good[..end], NOW).is_err(), "cut at {end}");
    }
    let long = hs256(&json!({ "sub": "Ada", "padding": "x".repeat(TOKEN_BYTES_MAX) }));
    assert_eq!(verifier.verify(&long, NOW), Err(TokenError::TooLong));
}

#[test]
fn bad_key_files_are_refused_with_what_to_do() {
    let pem = str::from_utf8(RSA).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).unwrap();
    let twice = pem.repeat(2);
    let cases: [(&[u8], &str); 13] = [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"short secret\n", "12 bytes"),
        (&SECRET[..31], "31 bytes"),
        (RSA_PRIVATE, "private key"),
        (P256_PRIVATE, "private key"),
        (include_bytes!("../../../tests/keys/p384.public.pem"), "P-256"),
        (include_bytes!("../../../tests/keys/rsa1024.public.pem"), "1024 bits"),
        (&der, "DER"),
        (twice.as_bytes(), "several"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
        (b"-----BEGIN PUBLIC KEY", "is none"),
    ];
    for (file, expected) in cases {
        let (index, error) = TokenVerifier::new(&[RSA, file]).expect_err(expected);
        assert_eq!(index, 1);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
