//! Plain manifests: files in a folder, one file, a document that a web server gives, or the definitions inside a chart
//! of an OCI registry.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde_json::Value as Json;

use super::http::Get;
use super::{Error, Location, Request, Sha256, Sources, verify, within};
use crate::chart;
use crate::files;

/// No document of definitions is near as large; the Gateway API's has a megabyte.
const MAX_DOCUMENT: usize = 16 << 20;
/// In a place: the version asked for.
const VERSION: &str = "{version}";

/// Manifests to be had.
#[derive(Clone, Copy, Debug)]
pub struct Manifests<'a> {
    /// As the user writes it: a path or a URL, in which `{version}` stands for the version.
    pub place: &'a str,
    pub name: &'a str,
    /// The exact version.
    pub version: &'a str,
    /// `sha256:…` of the file, to be enforced.
    pub digest: Option<&'a str>,
}

impl Sources {
    /// The objects in the order in which they stand there.
    pub async fn manifests(&self, asked: &Manifests<'_>) -> Result<Vec<Json>, Error> {
        let place = asked.place.replace(VERSION, asked.version);
        let location = Location::parse(&place)?;
        let request = Request {
            location: &location,
            name: asked.name,
            version: Some(asked.version),
            digest: asked.digest,
            credentials: None,
        };
        let texts = match &location {
            Location::Archive(path) if path.extension().is_none_or(|extension| extension != "tgz") => {
                vec![file(path, &request)?]
            }
            Location::Directory(path) => folder(path, &request)?,
            Location::Repository(url) => return self.document(url, &request).await,
            Location::Archive(_) | Location::Registry(_) => {
                self.chart(&request).await?.definitions().map(str::to_owned).collect()
            }
        };
        objects(&texts, &location)
    }

    async fn document(&self, url: &Url, request: &Request<'_>) -> Result<Vec<Json>, Error> {
        let digest = request.digest.map(Sha256::parse).transpose()?;
        let read = |bytes: &[u8]| objects(&[checked(bytes.to_vec(), request)?], request.location);
        if let Some(objects) = self.cached(request, digest.as_ref(), read)? {
            return Ok(objects);
        }
        let get = Get { url, accept: None, authorization: None, limit: MAX_DOCUMENT };
        let bytes = self.http.body(get).await?;
        let objects = read(&bytes)?;
        self.cache.store(&request.place(), request.name, request.version.unwrap_or_default(), &bytes);
        Ok(objects)
    }
}

/// The objects in these texts. One without a kind is none, as of a page in JSON that asks to log in.
fn objects(texts: &[String], location: &Location) -> Result<Vec<Json>, Error> {
    let place = || location.to_string();
    let mut objects = Vec::new();
    for text in texts {
        objects.extend(chart::documents(text).map_err(|source| Error::Manifests { place: place(), source })?);
    }
    let has_kind = |object: &Json| object.get("kind").and_then(Json::as_str).is_some_and(|kind| !kind.is_empty());
    match objects.is_empty() || !objects.iter().all(has_kind) {
        true => Err(Error::NoManifests { place: place() }),
        false => Ok(objects),
    }
}

fn file(path: &Path, request: &Request<'_>) -> Result<String, Error> {
    let bytes = files::read(path, MAX_DOCUMENT as u64);
    let bytes = bytes.map_err(|source| Error::File { path: path.to_owned(), source })?;
    checked(bytes, request)
}

fn checked(bytes: Vec<u8>, request: &Request<'_>) -> Result<String, Error> {
    if let Some(digest) = request.digest {
        verify(request, &bytes, &Sha256::parse(digest)?)?;
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::Answer { url: request.location.to_string(), what: "it is not UTF-8".to_owned() })
}

/// The manifests of a folder, by name. Of a folder there is no digest: who may write there decides what it holds.
fn folder(path: &Path, request: &Request<'_>) -> Result<Vec<String>, Error> {
    if request.digest.is_some() {
        return Err(Error::FolderDigest { path: path.to_owned() });
    }
    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_manifest = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // What kubectl calls its own is no manifest of an object.
        if is_manifest && file.file_stem().is_none_or(|stem| stem != "kustomization") {
            found.push(file);
        }
    }
    found.sort();
    let mut room = MAX_DOCUMENT;
    let read = found.iter().map(|file| {
        let bytes = within(path, file, room)?;
        room -= bytes.len();
        checked(bytes, request)
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "# a comment\n---\napiVersion: v1\nkind: A\n---\n---\napiVersion: v1\nkind: B\n";

    async fn kinds(place: &str, digest: Option<&str>) -> Result<Vec<String>, String> {
        let asked = Manifests { place, name: "gateway-api", version: "1.2.3", digest };
        let objects = Sources::with_cache(None).manifests(&asked).await.map_err(|error| error.to_string())?;
        Ok(objects.iter().map(|object| object["kind"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Whoever may write where manifests come from can put there what never ends.
    #[cfg(unix)]
    #[tokio::test]
    async fn what_never_ends_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let file = folder.path().join("a.yaml");
        std::fs::File::create(&file).unwrap().set_len(MAX_DOCUMENT as u64 + 1).unwrap();
        assert!(kinds(&place, None).await.unwrap_err().contains("cannot read"));
        assert!(kinds(&file.display().to_string(), None).await.unwrap_err().contains("cannot read"));
        // Nor are many of them larger than one may be.
        for name in ["a.yaml", "b.yaml"] {
            std::fs::write(folder.path().join(name), vec![b'#'; MAX_DOCUMENT / 2 + 1]).unwrap();
        }
        assert!(kinds(&place, None).await.unwrap_err().contains("cannot read"));
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(kinds(&place, None).await.unwrap_err().contains("cannot read"));
        assert!(kinds(&file.display().to_string(), None).await.unwrap_err().contains("cannot read"));
        assert!(kinds("/dev/zero", None).await.unwrap_err().contains("cannot read"));
    }

    #[tokio::test]
    async fn a_folder_and_a_file_hold_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let versioned = folder.path().join("1.2.3");
        std::fs::create_dir(&versioned).unwrap();
        for (name, text) in
            [("b.yaml", "kind: C"), ("a.yml", DEFINITION), ("kustomization.yaml", "kind: K"), ("x.txt", "kind: X")]
        {
            std::fs::write(versioned.join(name), text).unwrap();
        }
        let place = format!("{}/{{version}}", folder.path().display());
        assert_eq!(kinds(&place, None).await.unwrap(), ["A", "B", "C"]);
        let file = format!("{place}/a.yml");
        assert_eq!(kinds(&file, None).await.unwrap(), ["A", "B"]);
        let digest = format!("{}", Sha256::of(DEFINITION.as_bytes()));
        assert_eq!(kinds(&file, Some(&digest)).await.unwrap(), ["A", "B"]);
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(kinds(&file, Some(&other)).await.unwrap_err().contains("has the digest"));
        assert!(kinds(&place, Some(&digest)).await.unwrap_err().contains("a folder has no digest"));
        let empty = tempfile::tempdir().unwrap();
        assert!(kinds(&empty.path().display().to_string(), None).await.unwrap_err().contains("holds no manifests"));
        assert!(kinds(&format!("{}/none", empty.path().display()), None).await.unwrap_err().contains("cannot read"));
    }
}
