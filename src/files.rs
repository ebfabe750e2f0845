//! Reads the files that a configuration names, none of them larger than it may be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The whole file, of at most `most` bytes; `what` it is, for who has to mend it.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read_whole(path: &Path, most: u64, what: &str) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("cannot read the {what} {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err(format!("the {what} {} has more than {most} bytes", path.display()));
    }
    Ok(bytes)
}
