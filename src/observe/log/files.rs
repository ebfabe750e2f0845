//! A log file with a bound on its size, and a bounded number of older ones beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::sink::LineWriter;
use crate::limits::LOG_LOCK_TIME;

/// How often a file that another process has locked is looked at again.
const LOCK_LOOK: Duration = Duration::from_micros(100);

/// `NAME`, which is written, and `NAME.1`, `NAME.2`… from younger to older.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    /// With the one that is written.
    files: usize,
    file: Option<File>,
}

impl RotatingFile {
    /// Opens the file and goes on at its end. Removes those that are too old.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub(super) fn open(path: PathBuf, bytes_max: u64, files: usize) -> io::Result<Self> {
        let file = open(&path)?;
        let rotating = Self { path, bytes_max, files, file: Some(file) };
        let too_old = (files..).map(|number| rotating.older(number));
        for path in too_old {
            if fs::remove_file(path).is_err() {
                break;
            }
        }
        Ok(rotating)
    }

    fn older(&self, number: usize) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// The file that has the name now, locked: until it is unlocked or closed no other process
    /// writes to it or gives it another name.
    fn lock(&mut self) -> io::Result<File> {
        let deadline = Instant::now() + LOG_LOCK_TIME;
        loop {
            let file = match self.file.take() {
                Some(file) => file,
                None => open(&self.path)?,
            };
            lock(&file, deadline)?;
            let (ours, named) = (file.metadata()?, fs::metadata(&self.path));
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                return Ok(file);
            }
            // Another process rotated it, or it was removed.
            if Instant::now() > deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// Gives every file the next number, in place of the one that has it: nobody has the name then.
    /// The one that is written is locked, and so no other process does the same.
    fn rotate(&self) -> io::Result<()> {
        for number in (0..self.files - 1).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.files == 1 {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Whether a line belongs in the next file. It is never the first of one.
    fn is_full(&self, file: &File, line: &[u8]) -> io::Result<bool> {
        let bytes = file.metadata()?.len();
        Ok(bytes > 0 && bytes + line.len() as u64 > self.bytes_max)
    }
}

impl LineWriter for RotatingFile {
    /// Writes the line whole or not at all.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = self.lock()?;
        if self.is_full(&file, line)? {
            self.rotate()?;
            drop(file);
            file = self.lock()?;
        }
        let written = append(&mut file, line);
        unlock(&file)?;
        self.file = Some(file);
        written
    }
}

/// Waits for the lock of a file until the deadline. A file system without locks has none to wait
/// for.
fn lock(file: &File, deadline: Instant) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_LOOK),
            Err(Errno::WOULDBLOCK) => {
                let message = "another process has it locked";
                return Err(io::Error::new(ErrorKind::TimedOut, message));
            }
            Err(Errno::INTR) => {}
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn unlock(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::Unlock) {
        Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Appends the line to a file that is locked. Half a line would spoil the next one and is taken
/// back, unless something else, such as the last words of a process, stands behind it.
fn append(file: &mut File, line: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let mut rest = line;
    while !rest.is_empty() {
        let error = match file.write(rest) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(count) => {
                rest = &rest[count..];
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let written = (line.len() - rest.len()) as u64;
        if written > 0 && file.metadata()?.len() == before + written {
            file.set_len(before)?;
        }
        return Err(error);
    }
    Ok(())
}

/// Opens for appending, so that lines of several processes do not overwrite each other: while one
/// takes over from another both write.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// A folder of its own for each test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("ringwire-files-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a folder can be made");
            Self(path)
        }

        fn open(&self, bytes_max: u64, files: usize) -> RotatingFile {
            RotatingFile::open(self.0.join("a.log"), bytes_max, files).expect("it can be written")
        }

        /// What is in the files, from younger to older.
        fn contents(&self) -> Vec<String> {
            let names = std::iter::once("a.log".to_owned());
            let names = names.chain((1..).map(|number| format!("a.log.{number}")));
            names.map_while(|name| fs::read_to_string(self.0.join(name)).ok()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn write(file: &mut RotatingFile, lines: impl IntoIterator<Item = u32>) {
        for number in lines {
            file.write_line(format!("{number:03}\n").as_bytes()).expect("there is room");
        }
    }

    #[test]
    fn the_oldest_give_way() {
        let folder = Folder::new("rotation");
        write(&mut folder.open(8, 3), 0..9);
        assert_eq!(folder.contents(), ["008\n", "006\n007\n", "004\n005\n"]);
        write(&mut folder.open(8, 3), 9..10);
        assert_eq!(folder.contents()[0], "008\n009\n", "the next start goes on");
        write(&mut folder.open(8, 2), 10..11);
        assert_eq!(folder.contents(), ["010\n", "008\n009\n"], "fewer may be kept");
        write(&mut folder.open(4, 1), 11..13);
        assert_eq!(folder.contents(), ["012\n"]);
    }

    #[test]
    fn two_processes_rotate_once() {
        let folder = Folder::new("two");
        let (mut old, mut new) = (folder.open(8, 3), folder.open(8, 3));
        write(&mut old, 0..3);
        write(&mut new, 3..4);
        assert_eq!(folder.contents(), ["002\n003\n", "000\n001\n"]);
    }

    /// As while one process takes over from another.
    #[test]
    fn two_that_write_at_once_lose_nothing() {
        const LINES: u32 = 50;
        for round in 0..20 {
            let folder = Folder::new(&format!("race-{round}"));
            // Every line begins a file, and none of them grows too old.
            let files: Vec<_> = (0..2).map(|_| folder.open(4, 3 * LINES as usize)).collect();
            let start = Barrier::new(2);
            thread::scope(|scope| {
                for (mut file, first) in files.into_iter().zip([0, LINES]) {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        write(&mut file, first..first + LINES);
                    });
                }
            });
            let contents = folder.contents();
            let mut lines: Vec<&str> = contents.iter().flat_map(|text| text.lines()).collect();
            lines.sort_unstable();
            let given: Vec<String> = (0..2 * LINES).map(|number| format!("{number:03}")).collect();
            assert_eq!(lines, given);
        }
    }

    #[test]
    fn who_keeps_a_file_locked_costs_lines_that_are_counted() {
        let folder = Folder::new("locked");
        let mut file = folder.open(100, 3);
        write(&mut file, 0..1);
        let other = open(&folder.0.join("a.log")).expect("it is there");
        flock(&other, FlockOperation::NonBlockingLockExclusive).expect("nobody has the lock");
        let error = file.write_line(b"001\n").expect_err("another has the lock");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(other);
        write(&mut file, 2..3);
        assert_eq!(folder.contents(), ["000\n002\n"]);
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let folder = Folder::new("removed");
        let mut file = folder.open(100, 3);
        write(&mut file, 0..1);
        fs::remove_file(folder.0.join("a.log")).expect("it is there");
        write(&mut file, 1..2);
        assert_eq!(folder.contents(), ["001\n"]);
    }
}
