//! Where charts come from: Helm repositories, OCI registries, directories and archives; a digest-addressed cache.
//!
//! Nothing is opened, connected or built before a chart is asked for, and a chart once fetched in an exact version
//! needs no network again. Nothing about rendering, resources or Kubernetes belongs here.
mod cache;
mod http;
mod manifests;
mod oci;
mod repository;
pub mod template;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use tokio::sync::OnceCell;

use crate::chart::{self, Chart};
use crate::files;
use cache::Cache;
use http::Http;
pub use manifests::Manifests;
use repository::MAX_ARCHIVE;

/// Istio's own repository since 1.31; the earlier one ends in December 2026.
pub const ISTIO_REPOSITORY: &str = "https://blob.istio.io/istio-release/charts";

/// A place that holds one chart or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder: an unpacked chart, or unpacked charts each in a folder of its own name.
    Directory(PathBuf),
    /// A packed chart.
    Archive(PathBuf),
    /// A Helm repository, `http://` or `https://`.
    Repository(Url),
    /// A folder of charts in an OCI registry: `oci://ghcr.io/istio/release/charts`.
    Registry(Url),
}

/// User name and password for a repository or registry. Neither is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// A chart to be had.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub location: &'a Location,
    pub name: &'a str,
    /// The exact version; without one the newest that is no prerelease.
    pub version: Option<&'a str>,
    /// `sha256:…` of the archive, to be enforced.
    pub digest: Option<&'a str>,
    pub credentials: Option<&'a Credentials>,
}

impl Request<'_> {
    /// What the cache knows the place by: the whole of its URL, and who asks. A chart that was fetched with a
    /// credential is not handed out without.
    fn place(&self) -> String {
        let url = match self.location {
            Location::Directory(path) | Location::Archive(path) => path.display().to_string(),
            Location::Repository(url) | Location::Registry(url) => url.to_string(),
        };
        let user = self.credentials.map(|credentials| format!("\nas {}", credentials.username)).unwrap_or_default();
        format!("{url}{user}")
    }
}

/// An archive that was fetched, and is not opened yet: what answers a request may be a page to log in on.
struct Fetched {
    version: String,
    bytes: Vec<u8>,
}

/// All sources of one process, which share connections, the cache on disk and charts already loaded.
#[derive(Debug)]
pub struct Sources {
    cache: Cache,
    http: Http,
    loaded: Mutex<HashMap<String, Arc<OnceCell<Arc<Chart>>>>>,
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{text:?} is neither a folder, a .tgz file, an http(s):// repository nor an oci:// registry")]
    Location { text: String },
    #[error("{0:?} is no digest: expected sha256: and 64 hexadecimal digits")]
    Digest(String),
    /// The place does not answer; nothing is known to be wrong with the configuration.
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{url} asks for a user name and password, or does not accept those given (status {status})")]
    Unauthorized { url: String, status: u16 },
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answers with more than {limit} bytes")]
    TooLarge { url: String, limit: usize },
    #[error("{url} is not understood: {what}")]
    Answer { url: String, what: String },
    #[error("{place} has no chart {name}")]
    NoChart { place: String, name: String },
    #[error("{place} has no version {version} of chart {name}; it has {}", some_of(available))]
    NoVersion { place: String, name: String, version: String, available: Vec<String> },
    /// What was fetched is not what was promised: damaged on its way, or tampered with.
    #[error("chart {name} from {place} has the digest {actual}, not {expected}")]
    Tampered { place: String, name: String, expected: String, actual: String },
    #[error("chart {name} from {place} is really {actual}")]
    Mistaken { place: String, name: String, actual: String },
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("chart {name} from {place} cannot be loaded")]
    Chart { place: String, name: String, source: chart::Error },
    #[error("what {place} holds cannot be read as manifests")]
    Manifests { place: String, source: chart::Error },
    #[error("{place} holds no manifests")]
    NoManifests { place: String },
    #[error("a folder has no digest, such as is asked of {}: name a file in it", path.display())]
    FolderDigest { path: PathBuf },
    /// What is pinned must not come from where nothing can be compared.
    #[error("the chart {name} in {} is a folder, which has no digest: put the packed chart {name}-<version>.tgz there instead, or leave the digest out", path.display())]
    UnpackedDigest { path: PathBuf, name: String },
    #[error("{} is a link that leads outside {}: put the file itself there", link.display(), folder.display())]
    LeadsOutside { link: PathBuf, folder: PathBuf },
    /// Whoever is on the way could hand out what they like.
    #[error(
        "{url} is reached over https and leads to {to}, which is plain http; without a digest nothing would protect what comes from there"
    )]
    Downgrade { url: String, to: String },
}

impl Error {
    /// Whether trying again later may help without any change to the configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

fn some_of(versions: &[String]) -> String {
    match versions.len() {
        0 => "none".to_owned(),
        1..=8 => versions.join(", "),
        n => format!("{} and {} more", versions[..8].join(", "), n - 8),
    }
}

impl Location {
    /// Reads what a user writes: a URL, or the path of a folder or of a `.tgz` file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Location { text: without_secrets(text) };
        let Some((scheme, _)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(wrong());
            }
            let path = PathBuf::from(text);
            return Ok(if path.is_file() || text.ends_with(".tgz") {
                Self::Archive(path)
            } else {
                Self::Directory(path)
            });
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        if url.host_str().is_none_or(str::is_empty) && scheme != "file" {
            return Err(wrong());
        }
        match scheme {
            "http" | "https" => Ok(Self::Repository(url)),
            "oci" => Ok(Self::Registry(url)),
            "file" => Self::parse(&text["file://".len()..]),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) | Self::Archive(path) => path.display().fmt(f),
            Self::Repository(url) | Self::Registry(url) => f.write_str(&shown(url)),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// A URL without user, password and query, any of which may be a secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail for a URL with a host, and one without has neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

fn without_secrets(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) if text.contains("://") => format!("…@{rest}"),
        _ => text.to_owned(),
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::with_cache(cache::default_folder())
    }
}

impl Sources {
    /// Keeps fetched charts in this folder, or nowhere.
    pub fn with_cache(folder: Option<PathBuf>) -> Self {
        Self { cache: Cache::new(folder), http: Http::default(), loaded: Mutex::default() }
    }

    /// The chart, fetched at most once by this process and, in an exact version, once by this user.
    pub async fn chart(&self, request: &Request<'_>) -> Result<Arc<Chart>, Error> {
        let key = format!(
            "{}\n{}\n{}\n{}",
            request.place(),
            request.name,
            request.version.filter(|_| !is_unpacked(request)).unwrap_or_default(),
            request.digest.unwrap_or_default()
        );
        let cell = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        cell.get_or_try_init(|| self.load(request)).await.cloned()
    }

    async fn load(&self, request: &Request<'_>) -> Result<Arc<Chart>, Error> {
        let digest = request.digest.map(Sha256::parse).transpose()?;
        let chart = match request.location {
            Location::Directory(path) => directory(path, request, digest.as_ref())?,
            Location::Archive(path) => {
                let bytes = files::read(path, MAX_ARCHIVE as u64);
                let bytes = bytes.map_err(|source| Error::File { path: path.clone(), source })?;
                open(request, &bytes, digest.as_ref())?
            }
            Location::Repository(url) => {
                self.cached_or(request, digest.as_ref(), repository::fetch(&self.http, url, request)).await?
            }
            Location::Registry(url) => {
                self.cached_or(request, digest.as_ref(), oci::fetch(&self.http, &self.cache, url, request)).await?
            }
        };
        Ok(Arc::new(chart))
    }

    async fn cached_or(
        &self,
        request: &Request<'_>,
        digest: Option<&Sha256>,
        fetch: impl Future<Output = Result<Fetched, Error>>,
    ) -> Result<Chart, Error> {
        let read = |bytes: &[u8]| open(request, bytes, digest);
        if let Some(chart) = self.cached(request, digest, read)? {
            return Ok(chart);
        }
        let Fetched { version, bytes } = fetch.await?;
        let chart = read(&bytes)?;
        self.cache.store(&request.place(), request.name, &version, &bytes);
        Ok(chart)
    }

    /// What the cache holds, as it is read: by its digest, or by what an exact version was found to be earlier. What
    /// cannot be read is dropped, unless it is what the digest asks for: it would be the same again.
    fn cached<T>(
        &self,
        request: &Request<'_>,
        digest: Option<&Sha256>,
        read: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if let Some(digest) = digest {
            return self.cache.blob(digest).map(|bytes| read(&bytes)).transpose();
        }
        let (place, Some(version)) = (request.place(), request.version) else { return Ok(None) };
        let known = self.cache.reference(&place, request.name, version);
        let Some(bytes) = known.and_then(|known| self.cache.blob(&known)) else { return Ok(None) };
        let found = read(&bytes);
        if found.is_err() {
            self.cache.forget(&place, request.name, version);
        }
        Ok(found.ok())
    }
}

/// An unpacked chart is what it is, whichever version is asked for.
fn is_unpacked(request: &Request<'_>) -> bool {
    let Location::Directory(path) = request.location else { return false };
    unpacked(path, request.name).any(|chart| chart.join("Chart.yaml").is_file())
}

fn directory(path: &Path, request: &Request<'_>, digest: Option<&Sha256>) -> Result<Chart, Error> {
    let here = |source| Error::Chart { place: request.location.to_string(), name: request.name.to_owned(), source };
    if let Some(chart) = unpacked(path, request.name).find(|chart| chart.join("Chart.yaml").is_file()) {
        if digest.is_some() {
            return Err(Error::UnpackedDigest { path: path.to_owned(), name: request.name.to_owned() });
        }
        return Chart::from_dir_among(&chart, path).map_err(here);
    }
    let packed = request.version.map(|version| path.join(format!("{}-{version}.tgz", request.name)));
    match packed {
        Some(file) if file.is_file() => open(request, &within(path, &file, MAX_ARCHIVE)?, digest),
        _ => Err(Error::NoChart { place: request.location.to_string(), name: request.name.to_owned() }),
    }
}

/// The digests of a chart in a folder, by a name that [`folder_digest`] knows: of the unpacked chart, or of each packed
/// version of it.
pub fn folder_digests(folder: &Path, name: &str) -> BTreeMap<String, String> {
    let mut names = vec![name.to_owned()];
    if !unpacked(folder, name).any(|chart| chart.join("Chart.yaml").is_file()) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names = files.filter(|file| file.starts_with(&format!("{name}-")) && file.ends_with(".tgz")).collect();
    }
    names.into_iter().filter_map(|name| Some((name.clone(), folder_digest(folder, &name)?))).collect()
}

/// The digest of what [`folder_digests`] calls by this name, if it is there.
pub fn folder_digest(folder: &Path, name: &str) -> Option<String> {
    if name.ends_with(".tgz") {
        return Some(Sha256::of(&within(folder, &folder.join(name), MAX_ARCHIVE).ok()?).to_string());
    }
    let chart = unpacked(folder, name).find(|chart| chart.join("Chart.yaml").is_file())?;
    Some(Chart::from_dir_among(&chart, folder).ok()?.digest().to_owned())
}

/// Where a folder may have the unpacked chart of this name: it may be the chart itself.
fn unpacked(folder: &Path, name: &str) -> impl Iterator<Item = PathBuf> + use<> {
    [folder.join(name), folder.to_owned()].into_iter()
}

/// What a file in a folder holds. A link in it must not lead to what else this process can read.
fn within(folder: &Path, file: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::File { path: file.to_owned(), source };
    let bounds = folder.canonicalize().map_err(unreadable)?;
    let real = file.canonicalize().map_err(unreadable)?;
    if !real.starts_with(bounds) {
        return Err(Error::LeadsOutside { link: file.to_owned(), folder: folder.to_owned() });
    }
    files::read(&real, limit as u64).map_err(unreadable)
}

/// Loads an archive after checking that it is the one asked for.
fn open(request: &Request<'_>, bytes: &[u8], digest: Option<&Sha256>) -> Result<Chart, Error> {
    let place = || request.location.to_string();
    let name = || request.name.to_owned();
    if let Some(expected) = digest {
        verify(request, bytes, expected)?;
    }
    let chart = Chart::from_archive(bytes).map_err(|source| Error::Chart { place: place(), name: name(), source })?;
    let same = |wanted: &str| chart.version().trim_start_matches('v') == wanted.trim_start_matches('v');
    if chart.name() != request.name || !request.version.is_none_or(same) {
        let actual = format!("{} {}", chart.name(), chart.version());
        return Err(Error::Mistaken { place: place(), name: name(), actual });
    }
    Ok(chart)
}

fn verify(request: &Request<'_>, bytes: &[u8], expected: &Sha256) -> Result<(), Error> {
    let actual = Sha256::of(bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(Error::Tampered {
        place: request.location.to_string(),
        name: request.name.to_owned(),
        expected: expected.to_string(),
        actual: actual.to_string(),
    })
}

/// A SHA-256 digest in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sha256(String);

impl Sha256 {
    fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect())
    }

    /// With or without `sha256:`.
    fn parse(text: &str) -> Result<Self, Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(hex))
        } else {
            Err(Error::Digest(text.to_owned()))
        }
    }

    fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The newest version that is no prerelease, or the newest at all; what is no semantic version is passed over.
fn newest<'a>(versions: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    versions
        .filter_map(|text| Some((semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?, text)))
        .max_by(|(a, _), (b, _)| a.pre.is_empty().cmp(&b.pre.is_empty()).then_with(|| a.cmp_precedence(b)))
        .map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = "apiVersion: v2\nname: demo\nversion: 1.0.0\n";

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        folder
    }

    fn packed() -> Vec<u8> {
        chart::archive_of(&[("demo/Chart.yaml", CHART.as_bytes())])
    }

    async fn ask(folder: &Path, digest: Option<&str>) -> Result<Arc<Chart>, Error> {
        let location = Location::Directory(folder.to_owned());
        let request = Request { location: &location, name: "demo", version: Some("1.0.0"), digest, credentials: None };
        Sources::with_cache(None).chart(&request).await
    }

    #[tokio::test]
    async fn a_pinned_chart_in_a_folder_must_be_the_one_that_is_pinned() {
        let (right, wrong) = (Sha256::of(&packed()).to_string(), format!("sha256:{}", "0".repeat(64)));
        let archives = folder(&[("demo-1.0.0.tgz", &packed())]);
        assert!(ask(archives.path(), Some(&right)).await.is_ok());
        assert!(matches!(ask(archives.path(), Some(&wrong)).await, Err(Error::Tampered { .. })));
        for name in ["demo/Chart.yaml", "Chart.yaml"] {
            let unpacked = folder(&[(name, CHART.as_bytes())]);
            assert!(ask(unpacked.path(), None).await.is_ok());
            assert!(matches!(ask(unpacked.path(), Some(&right)).await, Err(Error::UnpackedDigest { .. })));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_lead_to_files_of_the_same_folder_only() {
        let link = |to: &Path, folder: &Path, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
        let environment = Path::new("/proc/self/environ");
        let secret = folder(&[("secret", b"kind: Secret"), ("demo-1.0.0.tgz", &packed())]);
        let charts = folder(&[("demo/Chart.yaml", CHART.as_bytes()), ("shared.yaml", b"kind: Shared")]);
        link(Path::new("../shared.yaml"), charts.path(), "demo/shared.yaml");
        let chart = ask(charts.path(), None).await.unwrap();
        for (name, to) in [("env", environment), ("file", &secret.path().join("secret"))] {
            link(to, charts.path(), &format!("demo/{name}"));
            let error = ask(charts.path(), None).await.unwrap_err();
            let why = std::error::Error::source(&error).unwrap().to_string();
            assert!(why.contains(name) && why.contains("a link that leads outside"), "{why}");
            std::fs::remove_file(charts.path().join("demo").join(name)).unwrap();
        }
        assert_eq!(ask(charts.path(), None).await.unwrap().digest(), chart.digest());
        // A chart, an archive and manifests elsewhere.
        let linked = folder(&[]);
        link(&charts.path().join("demo"), linked.path(), "demo");
        assert!(ask(linked.path(), None).await.is_err());
        let linked = folder(&[]);
        link(&secret.path().join("demo-1.0.0.tgz"), linked.path(), "demo-1.0.0.tgz");
        assert!(matches!(ask(linked.path(), None).await, Err(Error::LeadsOutside { .. })));
        let linked = folder(&[("a.yaml", b"kind: A")]);
        let place = linked.path().display().to_string();
        let asked = Manifests { place: &place, name: "gateway-api", version: "1.0.0", digest: None };
        assert_eq!(Sources::with_cache(None).manifests(&asked).await.unwrap().len(), 1);
        link(&secret.path().join("secret"), linked.path(), "b.yaml");
        let error = Sources::with_cache(None).manifests(&asked).await.unwrap_err();
        assert!(matches!(error, Error::LeadsOutside { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_folder_says_which_of_its_charts_has_changed() {
        let unpacked = folder(&[("demo/Chart.yaml", CHART.as_bytes())]);
        let digests = folder_digests(unpacked.path(), "demo");
        assert_eq!(digests["demo"], ask(unpacked.path(), None).await.unwrap().digest());
        std::fs::write(unpacked.path().join("demo/values.yaml"), "a: 1").unwrap();
        assert_ne!(folder_digest(unpacked.path(), "demo").unwrap(), digests["demo"]);
        let archives = folder(&[("demo-1.0.0.tgz", &packed()), ("demo-2.0.0.tgz", b"x"), ("other-1.0.0.tgz", b"y")]);
        let digests = folder_digests(archives.path(), "demo");
        assert_eq!(digests.keys().map(String::as_str).collect::<Vec<_>>(), ["demo-1.0.0.tgz", "demo-2.0.0.tgz"]);
        std::fs::write(archives.path().join("demo-2.0.0.tgz"), "z").unwrap();
        assert_eq!(folder_digest(archives.path(), "demo-1.0.0.tgz").as_ref(), digests.get("demo-1.0.0.tgz"));
        assert_ne!(folder_digest(archives.path(), "demo-2.0.0.tgz").as_ref(), digests.get("demo-2.0.0.tgz"));
    }
}
