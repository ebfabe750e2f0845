//! Masking (RFC 6455 section 5.3), in place and at the speed of memory.

/// Combines `payload` with `key`, which begins anew every four bytes: masks and unmasks alike.
#[inline]
pub fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(wide);
    let (words, rest) = payload.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// The key for what follows `count` bytes that were masked with `key`.
#[inline]
pub fn advance(key: [u8; 4], count: usize) -> [u8; 4] {
    let mut key = key;
    key.rotate_left(count % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_at_every_length_and_cut() {
        let key = [0x11, 0x83, 0xF0, 0x3C];
        for length in 0..130 {
            let plain: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let expected: Vec<u8> =
                plain.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in 0..=length {
                let mut masked = plain.clone();
                let (head, tail) = masked.split_at_mut(cut);
                apply(head, key);
                apply(tail, advance(key, cut));
                assert_eq!(masked, expected, "length {length}, cut {cut}");
            }
        }
    }

    #[test]
    fn twice_is_nothing() {
        let mut payload = *b"the quick brown fox jumps over the lazy dog";
        apply(&mut payload, [1, 2, 3, 4]);
        assert_ne!(&payload, b"the quick brown fox jumps over the lazy dog");
        apply(&mut payload, [1, 2, 3, 4]);
        assert_eq!(&payload, b"the quick brown fox jumps over the lazy dog");
    }
}
