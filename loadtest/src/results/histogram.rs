//! Histograms in short, and encoded without loss.
//!
//! What is decoded may come from a damaged file or another host. The decoder of `hdrhistogram`
//! trusts the lengths it reads, so they are checked first, and nothing is bigger than a histogram.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::{NANOSECONDS_MAX, NamedHistogram, Packed, Percentiles, new_histogram};

/// The most a histogram may count: what a double holds exactly. Sums of counts cannot overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 53;

/// Bytes of a compressed V2 histogram before what is compressed: its cookie and its length.
const COMPRESSED_HEAD_BYTES: usize = 8;
/// Bytes of a V2 histogram before its counts: cookie, length of the counts, offset, digits,
/// lowest and highest value, ratio.
const HEAD_BYTES: usize = 40;
/// Bytes of the longest encoded count.
const NUMBER_BYTES_MAX: usize = 9;

/// Nanoseconds of a microsecond.
const MICROSECOND: f64 = 1_000.0;

impl Percentiles {
    /// A histogram of nanoseconds in short. All zero when nothing was recorded.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / MICROSECOND;
        Self {
            count: histogram.len(),
            min: histogram.min() as f64 / MICROSECOND,
            mean: histogram.mean() / MICROSECOND,
            stdev: histogram.stdev() / MICROSECOND,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max() as f64 / MICROSECOND,
        }
    }

    /// Every field by its name, `count` first.
    pub(crate) fn fields(&self) -> [(&'static str, f64); 11] {
        [
            ("count", self.count as f64),
            ("min", self.min),
            ("mean", self.mean),
            ("stdev", self.stdev),
            ("p50", self.p50),
            ("p75", self.p75),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99_9", self.p99_9),
            ("p99_99", self.p99_99),
            ("max", self.max),
        ]
    }
}

impl Packed {
    /// Encodes a histogram; nothing when nothing was recorded.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() { Self::default() } else { Self(encoded(histogram)) }
    }

    /// The histogram again.
    ///
    /// # Errors
    /// When these are not the bytes of a histogram with the bounds of [`new_histogram`].
    pub(crate) fn histogram(&self) -> Result<Histogram<u64>, String> {
        if self.0.is_empty() { Ok(new_histogram()) } else { decoded(&self.0) }
    }

    /// In base64, for an interval log; it begins with `HISTF` even if nothing was recorded.
    pub(crate) fn base64(&self) -> String {
        if self.0.is_empty() {
            BASE64.encode(encoded(&new_histogram()))
        } else {
            BASE64.encode(&self.0)
        }
    }

    /// Out of base64, checked.
    ///
    /// # Errors
    /// When the text is not base64, or not of a histogram.
    pub(crate) fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).map_err(|error| format!("not base64: {error}"))?;
        Ok(if decoded(&bytes)?.is_empty() { Self::default() } else { Self(bytes) })
    }
}

impl NamedHistogram {
    /// A histogram of what `of` says.
    pub(crate) fn of(of: &str, histogram: &Histogram<u64>) -> Self {
        Self {
            of: of.to_owned(),
            us: Percentiles::of(histogram),
            v2: BASE64.encode(encoded(histogram)),
        }
    }

    /// The histogram again.
    ///
    /// # Errors
    /// When the text is not base64, or not of a histogram with the bounds of [`new_histogram`].
    pub(crate) fn histogram(&self) -> Result<Histogram<u64>, String> {
        let bytes = BASE64.decode(&self.v2).map_err(|error| format!("not base64: {error}"))?;
        decoded(&bytes)
    }
}

/// Adds what another histogram counted.
///
/// # Errors
/// When the sum is more than a histogram may count.
pub(crate) fn add(to: &mut Histogram<u64>, other: &Histogram<u64>) -> Result<(), String> {
    if to.len().saturating_add(other.len()) > COUNT_MAX {
        return Err(format!("histograms that count more than {COUNT_MAX} in all cannot be added"));
    }
    to.add(other).map_err(|error| format!("histograms of different bounds: {error:?}"))
}

fn encoded(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a vector takes every histogram");
    bytes
}

/// Decodes compressed V2. The plain V2 in it is checked before it is handed to the decoder.
fn decoded(bytes: &[u8]) -> Result<Histogram<u64>, String> {
    let empty = new_histogram();
    let slots = empty.distinct_values();
    let limit = HEAD_BYTES + slots * NUMBER_BYTES_MAX;
    let Some(compressed) = bytes.get(COMPRESSED_HEAD_BYTES..) else {
        return Err("a histogram is cut off".to_owned());
    };
    let mut plain = Vec::new();
    ZlibDecoder::new(compressed)
        .take(limit as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("a histogram is not compressed as V2 is: {error}"))?;
    let Some((head, counts)) = plain.split_at_checked(HEAD_BYTES) else {
        return Err("a histogram is cut off".to_owned());
    };
    let bounds = [4..8, 12..16, 16..24, 24..32]
        .map(|at| head[at].iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)));
    if plain.len() > limit || bounds[0] != counts.len() as u64 {
        return Err("a histogram is not as long as it says".to_owned());
    }
    if bounds[1..] != [u64::from(empty.sigfig()), empty.low(), empty.high()] {
        return Err(format!(
            "a histogram has other bounds than 1 to {NANOSECONDS_MAX} ns with {} digits",
            empty.sigfig()
        ));
    }
    check_counts(counts, slots as u64)?;
    Deserializer::new()
        .deserialize(&mut &plain[..])
        .map_err(|error| format!("a histogram is damaged: {error}"))
}

/// The counts of V2: numbers in zigzag and variable length; one below zero skips slots.
fn check_counts(mut counts: &[u8], slots: u64) -> Result<(), String> {
    let (mut slot, mut total) = (0_u64, 0_u64);
    while !counts.is_empty() {
        let number = take_number(&mut counts)?;
        let (skipped, counted) =
            if number < 0 { (number.unsigned_abs(), 0) } else { (1, number.unsigned_abs()) };
        slot = slot.saturating_add(skipped);
        total = total.saturating_add(counted);
        if slot > slots || total > COUNT_MAX {
            return Err("a histogram has more counts than fit it".to_owned());
        }
    }
    Ok(())
}

/// Seven bits in each byte, lowest first, as long as its top bit is set; the ninth has eight.
fn take_number(bytes: &mut &[u8]) -> Result<i64, String> {
    let mut number = 0_u64;
    for at in 0..NUMBER_BYTES_MAX {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err("a histogram is cut off in a count".to_owned());
        };
        *bytes = rest;
        let last = at == NUMBER_BYTES_MAX - 1;
        number |= u64::from(if last { byte } else { byte & 0x7f }) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::recorded;

    #[test]
    fn percentiles_are_in_microseconds_and_in_order() {
        let histogram = recorded((1..=10_000).map(|step| step * 1_000));
        let us = Percentiles::of(&histogram);
        assert_eq!(us.count, 10_000);
        for (found, expected) in [(us.min, 1.0), (us.p50, 5_000.0), (us.max, 10_000.0)] {
            assert!((found / expected - 1.0).abs() < 0.001, "{found} is not {expected}");
        }
        let order = [us.min, us.p50, us.p75, us.p90, us.p99, us.p99_9, us.p99_99, us.max];
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(Percentiles::of(&new_histogram()), Percentiles::default());
    }

    #[test]
    fn encoding_loses_nothing() {
        for histogram in [new_histogram(), recorded([1, 5, 5_000, NANOSECONDS_MAX])] {
            assert_eq!(Packed::of(&histogram).histogram().unwrap(), histogram);
            let named = NamedHistogram::of("round trip", &histogram);
            assert!(named.v2.starts_with("HISTF"), "{}", named.v2);
            assert_eq!(named.histogram().unwrap(), histogram);
            let text = Packed::of(&histogram).base64();
            assert!(text.starts_with("HISTF"), "{text}");
            assert_eq!(Packed::from_base64(&text).unwrap().histogram().unwrap(), histogram);
        }
        assert_eq!(Packed::of(&new_histogram()), Packed::default());
    }

    #[test]
    fn no_damage_is_fatal() {
        let whole = encoded(&recorded((0..300).map(|step| step * 997)));
        for length in 1..whole.len() {
            assert!(Packed(whole[..length].to_vec()).histogram().is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _ = Packed(damaged).histogram();
            }
        }
        assert!(Packed::from_base64("HISTF*").is_err());
    }

    /// The counts in a plain V2 histogram with this length of counts and this many digits.
    fn plain(length: u32, digits: u32, counts: &[u8]) -> Packed {
        use std::io::Write;
        let mut bytes = 0x1c84_9313_u32.to_be_bytes().to_vec();
        for number in [length, 0, digits] {
            bytes.extend(number.to_be_bytes());
        }
        for number in [1, NANOSECONDS_MAX, 1.0_f64.to_bits()] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(counts);
        let mut compressed = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        compressed.write_all(&bytes).unwrap();
        let compressed = compressed.finish().unwrap();
        let mut packed = 0x1c84_9314_u32.to_be_bytes().to_vec();
        packed.extend((compressed.len() as u32).to_be_bytes());
        packed.extend(compressed);
        Packed(packed)
    }

    #[test]
    fn what_would_make_the_decoder_panic_or_grow_is_refused() {
        assert_eq!(plain(2, 3, &[0, 2]).histogram().unwrap().len(), 1);
        let [lowest, highest] = [[0xff; 9], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]];
        let bomb = vec![0_u8; 8 << 20];
        for (length, digits, counts) in [
            (u32::MAX, 3, &[0, 2][..]),
            (2, 5, &[0, 2]),
            (9, 3, &lowest),
            (9, 3, &highest),
            (1, 3, &[0xff]),
            (bomb.len() as u32, 3, &bomb),
        ] {
            assert!(plain(length, digits, counts).histogram().is_err(), "{length} {digits}");
        }
    }

    #[test]
    fn no_damage_below_the_compression_is_fatal() {
        let histogram = recorded([1, 2, 3, 500, 70_000, 70_001, NANOSECONDS_MAX]);
        let mut counts = Vec::new();
        let packed = encoded(&histogram);
        ZlibDecoder::new(&packed[COMPRESSED_HEAD_BYTES..]).read_to_end(&mut counts).unwrap();
        counts.drain(..HEAD_BYTES);
        let length = counts.len() as u32;
        assert_eq!(plain(length, 3, &counts).histogram().unwrap(), histogram);
        for at in 0..counts.len() * 8 {
            counts[at / 8] ^= 1 << (at % 8);
            let _ = plain(length, 3, &counts).histogram();
            counts[at / 8] ^= 1 << (at % 8);
        }
    }

    #[test]
    fn sums_stay_exact() {
        let mut sum = recorded([5]);
        add(&mut sum, &recorded([7, 7])).unwrap();
        assert_eq!(sum, recorded([5, 7, 7]));
        let mut huge = new_histogram();
        huge.record_n(1, COUNT_MAX).unwrap();
        assert!(add(&mut huge, &recorded([1])).is_err());
    }
}
