//! Helm repositories: an `index.yaml`, and archives where it says.
use reqwest::Url;
use serde_json::{Map, Value as Json};

use super::http::{self, Get, Http};
use super::{Error, Fetched, Request, Sha256, newest, shown, verify};
use crate::chart::Values;

const MAX_INDEX: usize = 64 << 20;
pub(super) const MAX_ARCHIVE: usize = 64 << 20;

/// Fetches the archive of a chart and checks it against the index.
pub(super) async fn fetch(http: &Http, url: &Url, request: &Request<'_>) -> Result<Fetched, Error> {
    let mut base = url.clone();
    // Credentials travel in a header, and only to the repository's own host.
    let credentials = http::credentials(url, request.credentials);
    let _ = base.set_username("");
    let _ = base.set_password(None);
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    let place = shown(&base);
    let understood = |what: &str| Error::Answer { url: place.clone(), what: what.to_owned() };
    let index_url = base.join("index.yaml").map_err(|_| understood("its URL"))?;
    let authorization = credentials.as_ref().and_then(http::basic);
    let get = Get { url: &index_url, accept: None, authorization: authorization.clone(), limit: MAX_INDEX };
    let index = http.body(get).await?;
    let index = std::str::from_utf8(&index).map_err(|_| understood("its index is not UTF-8"))?;
    let index = Values::from_yaml(index).map_err(|error| understood(&format!("its index.yaml: {error}")))?;
    let release = Release::find(index.as_map(), &place, request)?;
    let archive_url = base.join(&release.url).map_err(|_| understood(&format!("the chart's URL {:?}", release.url)))?;
    if !matches!(archive_url.scheme(), "http" | "https") {
        return Err(understood(&format!("the chart's URL {:?}", release.url)));
    }
    let is_pinned = request.digest.is_some() || release.digest.is_some();
    if base.scheme() == "https" && archive_url.scheme() == "http" && !is_pinned {
        return Err(Error::Downgrade { url: place, to: shown(&archive_url) });
    }
    let same_host = archive_url.host_str() == base.host_str()
        && archive_url.port_or_known_default() == base.port_or_known_default()
        && archive_url.scheme() == base.scheme();
    let authorization = authorization.filter(|_| same_host);
    let get = Get { url: &archive_url, accept: None, authorization, limit: MAX_ARCHIVE };
    let bytes = http.body(get).await?;
    if let Some(digest) = &release.digest {
        verify(request, &bytes, digest)?;
    }
    Ok(Fetched { version: release.version, bytes })
}

/// One version of a chart in an index.
struct Release {
    version: String,
    url: String,
    digest: Option<Sha256>,
}

impl Release {
    fn find(index: &Map<String, Json>, place: &str, request: &Request<'_>) -> Result<Self, Error> {
        let name = request.name.to_owned();
        let versions = index.get("entries").and_then(|entries| entries.get(request.name)).and_then(Json::as_array);
        let Some(versions) = versions else { return Err(Error::NoChart { place: place.to_owned(), name }) };
        let version_of = |release: &Json| release.get("version").and_then(Json::as_str).unwrap_or_default().to_owned();
        let available: Vec<String> = versions.iter().map(version_of).collect();
        let wanted = match request.version {
            Some(version) => version,
            None => newest(available.iter().map(String::as_str)).unwrap_or_default(),
        };
        let plain = |version: &str| version.trim_start_matches('v').to_owned();
        let found = versions.iter().find(|release| plain(&version_of(release)) == plain(wanted));
        let Some(found) = found else {
            let version = if wanted.is_empty() { "at all" } else { wanted }.to_owned();
            return Err(Error::NoVersion { place: place.to_owned(), name, version, available });
        };
        let url = found.get("urls").and_then(|urls| urls.get(0)).and_then(Json::as_str);
        let Some(url) = url else {
            let what = format!("its index gives no URL for {name} {wanted}");
            return Err(Error::Answer { url: place.to_owned(), what });
        };
        let digest = match found.get("digest") {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) if text.is_empty() => None,
            Some(Json::String(text)) => Some(Sha256::parse(text)?),
            // A digest of digits only reads as a number where it is not quoted; it must not pass as no digest.
            Some(other) => return Err(Error::Digest(other.to_string())),
        };
        // What is kept is found again under the version that was asked for.
        Ok(Self { version: request.version.unwrap_or(wanted).to_owned(), url: url.to_owned(), digest })
    }
}
