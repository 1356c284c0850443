//! Files that users name, or that others put where users point: no larger than makes sense, and never waited for.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// What a file holds, if that is at most so many bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Whatever size it claims: it may grow.
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", limit >> 20)));
    }
    Ok(bytes)
}

/// Opens a file, by whatever links lead to it. A pipe or a terminal keeps a reader until somebody writes, which may be
/// never; and what comes out of it comes once, while a plan and its apply read the same file.
pub fn open(path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "the path leads to a folder, not to a file"));
    }
    if !metadata.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the path leads to a pipe, a socket or a device, not to a file",
        ));
    }
    File::open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_file_or_too_large_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = |path: &Path| read(path, 3).unwrap_err().to_string();
        std::fs::write(at("file"), "abc").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("link"), 3).unwrap(), b"abc");
        assert!(read(&at("file"), 2).unwrap_err().to_string().contains("larger"));
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        symlink(at("pipe"), at("to-pipe")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for name in ["pipe", "to-pipe", "socket"] {
            assert!(refused(&at(name)).contains("a pipe, a socket or a device"), "{name}");
        }
        assert!(refused(Path::new("/dev/zero")).contains("a device"));
        assert!(refused(folder.path()).contains("a folder"));
        assert_eq!(read(&at("none"), 3).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
