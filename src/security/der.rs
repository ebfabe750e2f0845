//! The little of DER (X.690) that tells keys from other bytes.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;

/// Splits `der` behind its first element: tag, content, rest. An element longer than 64 KiB is
/// none: no key is.
pub(super) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = der.split_first_chunk()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Whether `der` is elements from its first byte to its last.
pub(super) fn is_elements(mut der: &[u8]) -> bool {
    while let Some((_, _, rest)) = element(der) {
        der = rest;
    }
    der.is_empty()
}
