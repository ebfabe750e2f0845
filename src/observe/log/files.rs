//! A log file with a bound on its size, and a bounded number of older ones beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::sink::LineWriter;

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

    /// Gives every file the next number, in place of the one that has it, and begins a new one. One
    /// that another process has begun already is used as it is.
    fn rotate(&mut self, inode: u64) -> io::Result<()> {
        self.file = None;
        let is_ours = fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == inode);
        if is_ours {
            for number in (0..self.files - 1).rev() {
                match fs::rename(self.older(number), self.older(number + 1)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            if self.files == 1 {
                fs::remove_file(&self.path)?;
            }
        }
        self.file = Some(open(&self.path)?);
        Ok(())
    }
}

impl LineWriter for RotatingFile {
    /// Writes the line whole or not at all.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path)?),
        };
        let metadata = file.metadata()?;
        let mut bytes = metadata.len();
        let is_full = bytes > 0 && bytes + line.len() as u64 > self.bytes_max;
        if is_full || metadata.nlink() == 0 {
            self.rotate(metadata.ino())?;
            bytes = 0;
        }
        let file = self.file.as_mut().expect("it was opened just now");
        file.write_all(line).inspect_err(|_| {
            // Half a line would spoil the next one. Where this fails, too, it does.
            let _ = file.set_len(bytes);
        })
    }
}

/// Opens for appending, so that lines of several processes do not overwrite each other: while one
/// takes over from another both write.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
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
