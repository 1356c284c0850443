//! OCI registries: a chart is the one layer of a manifest that a tag names.
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde_json::Value as Json;

use super::cache::Cache;
use super::http::{self, Answer, Get, Http};
use super::repository::MAX_ARCHIVE;
use super::{Credentials, Error, Fetched, Request, Sha256, newest, shown, verify};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const MAX_DOCUMENT: usize = 4 << 20;

/// Fetches the archive of a chart and checks it against its manifest.
pub(super) async fn fetch(http: &Http, cache: &Cache, url: &Url, request: &Request<'_>) -> Result<Fetched, Error> {
    let mut registry = Registry::new(http, url, request)?;
    let version = match request.version {
        Some(version) => version.to_owned(),
        None => registry.newest().await?,
    };
    let (manifest_url, manifest) = registry.manifest(&version).await?;
    let understood = |what: &str| Error::Answer { url: shown(&manifest_url), what: what.to_owned() };
    let layers = manifest.get("layers").and_then(Json::as_array);
    let layer =
        layers.and_then(|layers| layers.iter().find(|layer| layer.get("mediaType") == Some(&CHART_LAYER.into())));
    let digest = layer.and_then(|layer| layer.get("digest")).and_then(Json::as_str);
    let digest = Sha256::parse(digest.ok_or_else(|| understood("it is not the manifest of a chart"))?)?;
    let bytes = match cache.blob(&digest) {
        Some(bytes) => bytes,
        None => registry.blob(&digest).await?,
    };
    verify(request, &bytes, &digest)?;
    Ok(Fetched { version, bytes })
}

struct Registry<'a> {
    http: &'a Http,
    request: &'a Request<'a>,
    /// `https://host/v2/path/name/`
    base: Url,
    repository: String,
    credentials: Option<Credentials>,
    /// Valid for the repository once a challenge has been met.
    authorization: Option<HeaderValue>,
}

/// The machine itself by its own name or address. A name that only begins like an address is anybody's.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl<'a> Registry<'a> {
    fn new(http: &'a Http, url: &Url, request: &'a Request<'a>) -> Result<Self, Error> {
        let host = url.host_str().unwrap_or_default();
        // Registries on the machine itself speak plain HTTP, as every OCI client takes them to.
        let local = is_local(host);
        let scheme = if local { "http" } else { "https" };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let folder = url.path().trim_matches('/');
        // A location may name the chart itself.
        let repository = if folder.rsplit('/').next() == Some(request.name) {
            folder.to_owned()
        } else {
            format!("{folder}/{}", request.name).trim_start_matches('/').to_owned()
        };
        let base = Url::parse(&format!("{scheme}://{host}{port}/v2/{repository}/"))
            .map_err(|_| Error::Location { text: shown(url) })?;
        let credentials = http::credentials(url, request.credentials);
        Ok(Self { http, request, base, repository, credentials, authorization: None })
    }

    async fn newest(&mut self) -> Result<String, Error> {
        let (url, answer) = self.get("tags/list", None, MAX_DOCUMENT).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(self.no_chart());
        }
        let tags = document(&url, answer)?;
        let tags = tags.get("tags").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        // A tag cannot have the plus of a version, and has an underscore instead.
        let versions: Vec<String> = tags.map(|tag| tag.replace('_', "+")).collect();
        newest(versions.iter().map(String::as_str)).map(str::to_owned).ok_or_else(|| self.no_chart())
    }

    async fn manifest(&mut self, version: &str) -> Result<(Url, Json), Error> {
        let (url, answer) =
            self.get(&format!("manifests/{}", version.replace('+', "_")), Some(MANIFEST), MAX_DOCUMENT).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Error::NoVersion {
                place: self.request.location.to_string(),
                name: self.request.name.to_owned(),
                version: version.to_owned(),
                available: vec!["others, if any".to_owned()],
            });
        }
        if let Some(promised) = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok())
            && promised.starts_with("sha256:")
        {
            verify(self.request, &answer.body, &Sha256::parse(promised)?)?;
        }
        let manifest = document(&url, answer)?;
        Ok((url, manifest))
    }

    async fn blob(&mut self, digest: &Sha256) -> Result<Vec<u8>, Error> {
        let (url, answer) = self.get(&format!("blobs/{digest}"), None, MAX_ARCHIVE).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(http::bad_status(&url, answer.status)) }
    }

    /// Asks, and asks again with what the registry demands.
    async fn get(&mut self, path: &str, accept: Option<&'static str>, limit: usize) -> Result<(Url, Answer), Error> {
        let url = self.base.join(path).map_err(|_| Error::Location { text: shown(&self.base) })?;
        let ask = |authorization| Get { url: &url, accept, authorization, limit };
        let answer = self.http.get(ask(self.authorization.clone())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok((url, answer));
        }
        let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.filter_map(Challenge::parse).next();
        self.authorization = match challenge {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let token = self.token(&realm, service.as_deref(), scope.as_deref()).await?;
                http::bearer(&token)
            }
            Some(Challenge::Basic) => self.credentials.as_ref().and_then(http::basic),
            None => None,
        };
        if self.authorization.is_none() {
            return Err(http::bad_status(&url, answer.status));
        }
        let answer = self.http.get(ask(self.authorization.clone())).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(http::bad_status(&url, answer.status));
        }
        Ok((url, answer))
    }

    /// A token for reading this repository, by the registry's token service.
    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, Error> {
        let understood = |what: &str| Error::Answer { url: shown(&self.base), what: what.to_owned() };
        let mut url = Url::parse(realm).map_err(|_| understood("the address of its token service"))?;
        // Credentials must not be sent in the clear to a place that an answer names, unless they stay on this machine.
        let stays_here = self.base.scheme() == "http" && url.scheme() == "http" && url.host_str().is_some_and(is_local);
        if url.scheme() != "https" && !stays_here {
            return Err(understood("the address of its token service is not safe"));
        }
        let own_scope = format!("repository:{}:pull", self.repository);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", scope.unwrap_or(&own_scope));
        let authorization = self.credentials.as_ref().and_then(http::basic);
        let answer = self.http.get(Get { url: &url, accept: None, authorization, limit: MAX_DOCUMENT }).await?;
        let answer = document(&url, answer)?;
        let token = answer.get("token").or_else(|| answer.get("access_token")).and_then(Json::as_str);
        token.map(str::to_owned).ok_or_else(|| understood("its token service gives no token"))
    }

    fn no_chart(&self) -> Error {
        Error::NoChart { place: self.request.location.to_string(), name: self.request.name.to_owned() }
    }
}

fn document(url: &Url, answer: Answer) -> Result<Json, Error> {
    if !answer.status.is_success() {
        return Err(http::bad_status(url, answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Error::Answer { url: shown(url), what: format!("not JSON: {error}") })
}

enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameter = |name: &str| {
            let at = rest.find(&format!("{name}=\""))? + name.len() + 2;
            rest[at..].split('"').next().map(str::to_owned)
        };
        Some(Self::Bearer { realm: parameter("realm")?, service: parameter("service"), scope: parameter("scope") })
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_the_machine_itself_is_spoken_to_in_the_clear() {
        for host in ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["127.evil.localhost", "127.0.0.1.example", "localhost.example", "10.0.0.1", "[fd00::1]"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
