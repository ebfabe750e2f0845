//! Frames for many, and the same frames compressed for those who take them so.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

/// Encoded frames that go to every member in one piece. Clones share everything.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whole frames, one after the other.
    pub frames: Bytes,
    /// How many.
    pub count: u32,
    compressed: Arc<Compressed>,
}

/// Made once on a node, by the first shard with a member that takes it.
#[derive(Default, Debug)]
struct Compressed {
    frames: OnceLock<Bytes>,
    /// What the batch was joined from: each is compressed once, too.
    parts: Vec<Batch>,
}

impl Batch {
    /// So many whole frames.
    #[must_use]
    pub fn new(frames: Bytes, count: u32) -> Self {
        Self { frames, count, compressed: Arc::default() }
    }

    /// All of `parts`, of so many bytes together, one after the other.
    pub(super) fn join(parts: impl Iterator<Item = Self>, bytes: usize) -> Self {
        let parts: Vec<Self> = parts.collect();
        let mut frames = BytesMut::with_capacity(bytes);
        for part in &parts {
            frames.extend_from_slice(&part.frames);
        }
        let count = parts.iter().map(|part| part.count).sum();
        let compressed = Compressed { frames: OnceLock::new(), parts };
        Self { frames: frames.freeze(), count, compressed: Arc::new(compressed) }
    }

    /// Without its first `bytes`, which are whole frames: `count` frames are left.
    pub(super) fn behind(&self, bytes: usize, count: u32) -> Self {
        if bytes == 0 { self.clone() } else { Self::new(self.frames.slice(bytes..), count) }
    }

    /// The frames as members get them who take compressed ones. `compress` is asked once for every
    /// publication, on whatever shard; others wait for it meanwhile.
    pub fn compressed(&self, compress: &mut impl FnMut(&Bytes) -> Bytes) -> Bytes {
        let Compressed { frames, parts } = &*self.compressed;
        let made = frames.get_or_init(|| {
            if parts.is_empty() {
                return compress(&self.frames);
            }
            let mut joined = BytesMut::with_capacity(self.frames.len());
            for part in parts {
                joined.extend_from_slice(&part.compressed(compress));
            }
            joined.freeze()
        });
        made.clone()
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.frames == other.frames && self.count == other.count
    }
}

impl Eq for Batch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_publication_is_compressed_once_whoever_asks() {
        let parts = [b"one", b"two", b"six"].map(|text| Batch::new(Bytes::from_static(text), 1));
        let [one, two, six] = &parts;
        let mut asked = Vec::new();
        let mut compress = |frames: &Bytes| {
            asked.push(frames.clone());
            Bytes::from(frames.to_ascii_uppercase())
        };
        assert_eq!(one.clone().compressed(&mut compress), "ONE");
        let joined = Batch::join(parts[..2].iter().cloned(), 6);
        let other = Batch::join([two.clone(), six.clone()].into_iter(), 6);
        assert_eq!((joined.frames.as_ref(), joined.count), (&b"onetwo"[..], 2));
        assert_eq!(joined.compressed(&mut compress), "ONETWO");
        assert_eq!(joined.clone().compressed(&mut compress), "ONETWO");
        assert_eq!(other.compressed(&mut compress), "TWOSIX");
        // A part of it is something else.
        assert_eq!(joined.behind(3, 1).compressed(&mut compress), "TWO");
        assert_eq!(joined.behind(0, 2).compressed(&mut compress), "ONETWO");
        assert_eq!(asked, ["one", "two", "six", "two"]);
    }
}
