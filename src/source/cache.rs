//! Archives on disk, named by their digest, and what digest an exact version was found to have.
//!
//! Any number of processes may use one folder at once: a file appears under its name complete or not at all, and is
//! checked against its name whenever it is read. A cache that cannot be read or written costs a download, nothing more.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Sha256;

#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
}

/// `terraform-provider-mesh/charts` in the user's cache folder.
pub(super) fn default_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("LOCALAPPDATA"))
        .or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache")))?;
    Some(base.join("terraform-provider-mesh").join("charts"))
}

impl Cache {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The archive with this digest. A damaged file is removed, so that it is fetched anew.
    pub(super) fn blob(&self, digest: &Sha256) -> Option<Vec<u8>> {
        let path = self.blob_path(digest)?;
        let bytes = std::fs::read(&path).ok()?;
        if Sha256::of(&bytes) != *digest {
            tracing::warn!(path = %path.display(), "a chart in the cache is damaged and is fetched again");
            let _ = std::fs::remove_file(&path);
            return None;
        }
        Some(bytes)
    }

    /// The digest that this version had when it was last fetched.
    pub(super) fn reference(&self, place: &str, name: &str, version: &str) -> Option<Sha256> {
        let text = std::fs::read_to_string(self.reference_path(place, name, version)?).ok()?;
        Sha256::parse(text.trim()).ok()
    }

    pub(super) fn store(&self, place: &str, name: &str, version: &str, bytes: &[u8]) {
        let digest = Sha256::of(bytes);
        let (Some(blob), Some(reference)) = (self.blob_path(&digest), self.reference_path(place, name, version)) else {
            return;
        };
        let stored = write(&blob, bytes).and_then(|()| write(&reference, format!("{digest}\n").as_bytes()));
        if let Err(error) = stored {
            tracing::warn!(%error, path = %blob.display(), "a chart cannot be kept in the cache");
        }
    }

    /// Drops what a version was found to be, and its archive, so that both are fetched again.
    pub(super) fn forget(&self, place: &str, name: &str, version: &str) {
        let known = self.reference(place, name, version);
        let blob = known.and_then(|digest| self.blob_path(&digest));
        for path in self.reference_path(place, name, version).into_iter().chain(blob) {
            tracing::warn!(path = %path.display(), "what the cache holds cannot be used and is fetched again");
            let _ = std::fs::remove_file(path);
        }
    }

    fn blob_path(&self, digest: &Sha256) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("sha256").join(format!("{}.tgz", digest.hex())))
    }

    /// Names come from users and servers, so a path is made of their digest, never of them.
    fn reference_path(&self, place: &str, name: &str, version: &str) -> Option<PathBuf> {
        let key = Sha256::of(format!("{place}\n{name}\n{version}").as_bytes());
        Some(self.folder.as_ref()?.join("versions").join(key.hex()))
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!(".{}.{unique}.unfinished", std::process::id()));
    let written = std::fs::File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&unfinished, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    renamed
}
