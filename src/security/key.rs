//! The keys that tokens are verified with: what a key file holds, and for which algorithm it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::der::{self, INTEGER, SEQUENCE};
use super::secret::read_secret;
use crate::limits::RSA_BITS;

/// The `SubjectPublicKeyInfo` of a P-256 key up to its uncompressed point (RFC 5480 section 2).
const P256_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Reads a key file: a PEM public key, or a raw HS256 secret. The kind of key decides the
/// algorithm, so that no token can choose how it is verified.
///
/// # Errors
/// What is wrong with the file and what to do, without a byte of it.
pub(super) fn read_key(file: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    match pem_label(file)? {
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => public_key(file),
        Some(label) if label.contains("PRIVATE KEY") => {
            Err("is a private key, which only the issuer of the tokens should have: give the \
                 server the public one (openssl pkey -in FILE -pubout)"
                .to_owned())
        }
        Some("CERTIFICATE") => Err("is a certificate: extract its public key \
                                    (openssl x509 -in FILE -pubkey -noout)"
            .to_owned()),
        Some(_) => Err("is a PEM file, but not a PUBLIC KEY".to_owned()),
        None => Ok((Algorithm::HS256, DecodingKey::from_secret(read_secret(file)?))),
    }
}

/// The label of a PEM file (RFC 7468), which must hold one block; `None` when it is no PEM.
fn pem_label(file: &[u8]) -> Result<Option<&str>, String> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut begins = file.windows(BEGIN.len()).enumerate().filter(|(_, bytes)| *bytes == BEGIN);
    let Some((begin, _)) = begins.next() else { return Ok(None) };
    let text = str::from_utf8(&file[begin + BEGIN.len()..]);
    let label = text.ok().and_then(|text| text.split_once("-----")).map(|(label, _)| label);
    let label = label.ok_or("begins like a PEM file, but is none")?;
    if begins.next().is_some() && !label.contains("PRIVATE KEY") {
        return Err("holds several PEM blocks: put each key into a file of its own".to_owned());
    }
    Ok(Some(label))
}

fn public_key(file: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    if let Ok(key) = DecodingKey::from_rsa_pem(file) {
        let bits = rsa_bits(key.as_bytes()).ok_or("is an RSA key that cannot be read")?;
        let (least, most) = RSA_BITS;
        if !(least..=most).contains(&bits) {
            return Err(format!(
                "is an RSA key of {bits} bits: RS256 needs {least} to {most} (RFC 7518 section 3.3)"
            ));
        }
        return Ok((Algorithm::RS256, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(file) {
        let is_p256 = pem_body(file).is_some_and(|der| der.starts_with(&P256_PREFIX));
        return if is_p256 {
            Ok((Algorithm::ES256, key))
        } else {
            Err("is an elliptic curve key, but not an uncompressed one on P-256, which ES256 needs"
                .to_owned())
        };
    }
    match DecodingKey::from_ed_pem(file) {
        Ok(key) if key.as_bytes().len() == 32 => Ok((Algorithm::EdDSA, key)),
        _ => Err("is not a public key of RSA, P-256 or Ed25519".to_owned()),
    }
}

/// The DER inside of the first PEM block.
fn pem_body(file: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(file).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (_, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

/// The length of the modulus in an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (SEQUENCE, content, []) = der::element(der)? else { return None };
    let (INTEGER, modulus, _) = der::element(content)? else { return None };
    let modulus = &modulus[modulus.iter().position(|&byte| byte != 0)?..];
    Some(modulus.len() * 8 - modulus[0].leading_zeros() as usize)
}
