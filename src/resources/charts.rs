//! The `charts` attribute, of the provider and of resources, and the way from it to a loaded chart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::chart::Chart;
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::engine::Ctx;
use crate::kept::objects::Entry;
use crate::model;
use crate::schema::Validator;
use crate::schema::validate::text;
use crate::source::{self, Credentials, Location, Manifests, Request, Sources};
use crate::value::{Dyn, Map, Path, Value};

/// The Gateway API in `digests`, and a chart of it.
pub const GATEWAY_API: &str = "gateway-api";
/// Where the project publishes it.
const GATEWAY_API_PLACE: &str =
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/v{version}/standard-install.yaml";

/// What `digests` can pin.
const PINNED: &[&str] = &["base", "istiod", "gateway", "cni", "ztunnel", GATEWAY_API];

/// The version of Istio that is taken when nobody names one.
pub const DEFAULT_VERSION: &str = "1.31.1";

model! {
    /// Where Istio's charts come from.
    pub struct Charts {
        /// Helm repository (`https://…`) or OCI registry (`oci://…`) that holds the charts. The default is Istio's own.
        /// Credentials do not go in here: the provider block's `charts` has places for them.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(without_query()))]
        pub repository: Value<String>,
        /// Folder that holds the unpacked charts, each in a folder of its own name, for use without a network.
        #[attr(optional, validate(non_empty()))]
        pub directory: Value<String>,
        /// Version of the charts; a folder must hold just this one. Where nobody says it, gateways and remotes take
        /// that of their control plane. For that they have to refer to it, as in `cluster = mesh_primary.east.cluster`:
        /// otherwise it may be planned after them.
        #[attr(optional, validate(non_empty()))]
        pub version: Value<String>,
        /// Digests of the charts' archives (`sha256:…`), by name of the chart: `base`, `istiod`, `gateway`, `cni`,
        /// `ztunnel`. What is fetched must have just this one; in a `directory` the chart must be packed
        /// (`istiod-<version>.tgz`). `gateway-api` stands for the file of the Gateway API's definitions.
        #[attr(optional, validate(each(digest())), validate(each_key(one_of(PINNED))))]
        pub digests: Value<Map<String>>,
        /// Where the definitions of the Gateway API come from, for control planes with `gateway_api`. It is a folder or
        /// a file of manifests, an `https://` URL of that file, or a chart with them in its folder `crds` (`oci://…`
        /// or a `.tgz` file). `{version}` in it stands for the release. The default is the project's own release of the
        /// standard channel.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(without_signature()))]
        pub gateway_api: Value<String>,
    }
}

model! {
    /// Where Istio's charts come from, and how to log in there.
    pub struct ProviderCharts {
        /// Helm repository (`https://…`) or OCI registry (`oci://…`) that holds the charts. The default is Istio's own.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(without_query()))]
        pub repository: Value<String>,
        /// Folder that holds the unpacked charts, each in a folder of its own name, for use without a network.
        #[attr(optional, validate(non_empty()))]
        pub directory: Value<String>,
        /// Version of the charts.
        #[attr(optional, validate(non_empty()))]
        pub version: Value<String>,
        /// Digests of the charts' archives (`sha256:…`), by name of the chart: `base`, `istiod`, `gateway`, `cni`,
        /// `ztunnel`. What is fetched must have just this one; in a `directory` the chart must be packed
        /// (`istiod-<version>.tgz`). `gateway-api` stands for the file of the Gateway API's definitions.
        #[attr(optional, validate(each(digest())), validate(each_key(one_of(PINNED))))]
        pub digests: Value<Map<String>>,
        /// Where the definitions of the Gateway API come from, for control planes with `gateway_api`. It is a folder or
        /// a file of manifests, an `https://` URL of that file, or a chart with them in its folder `crds` (`oci://…`
        /// or a `.tgz` file). `{version}` in it stands for the release. The default is the project's own release of the
        /// standard channel.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(without_signature()))]
        pub gateway_api: Value<String>,
        /// User name for `repository`. It is not sent to the repositories that resources name.
        #[attr(optional, validate(non_empty()))]
        pub username: Value<String>,
        /// Password for `repository`.
        #[attr(optional, sensitive)]
        pub password: Value<String>,
    }
}

impl ProviderCharts {
    /// What resources may say too, and the credentials.
    fn split(self) -> (Charts, Option<Credentials>) {
        let (username, password) = (self.username.text().to_owned(), self.password.text().to_owned());
        let credentials = (!username.is_empty()).then_some(Credentials { username, password });
        let (repository, directory, version, digests) = (self.repository, self.directory, self.version, self.digests);
        (Charts { repository, directory, version, digests, gateway_api: self.gateway_api }, credentials)
    }
}

fn digest() -> Validator {
    text("a digest such as `sha256:` and 64 hexadecimal digits", |digest| {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        let fits = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if fits { Ok(()) } else { Err(format!("{digest:?} is not.")) }
    })
}

/// For `charts` of a resource or of the provider that fetches these charts. What comes over plain http may have been
/// changed on its way, and charts decide what runs with all rights; a digest that is pinned tells.
pub fn not_plain_http(charts: &'static [&'static str]) -> Validator {
    Validator::new("from https or oci, or pinned", move |value, path, diagnostics| {
        let Dyn::Object(attributes) = value else { return };
        let digests = attributes.get("digests");
        let is_pinned = |name: &str| match digests {
            Some(Dyn::Map(digests)) => digests.contains_key(name),
            digests => digests.is_some_and(Dyn::is_unknown),
        };
        for (attribute, needs) in [("repository", charts), ("gateway_api", &[GATEWAY_API])] {
            let place = attributes.get(attribute).and_then(Dyn::as_str).unwrap_or_default();
            if is_plain_http(place) && !needs.iter().all(|name| is_pinned(name)) {
                diagnostics.push(
                    Diagnostic::warning("Charts come over plain http")
                        .detail(format!(
                            "Anybody between this machine and the repository decides what is installed. Use https or oci, or pin in `digests`: {}.",
                            needs.join(", ")
                        ))
                        .at(path.attr(attribute)),
                );
            }
        }
    })
}

fn is_plain_http(place: &str) -> bool {
    // Read as it is when charts are fetched.
    let Ok(Location::Repository(url)) = Location::parse(place) else { return false };
    if url.scheme() != "http" {
        return false;
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a stop or a deadline interrupts.
pub const FETCHING: &str = "fetching charts";

/// Which version of a chart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Version<'a> {
    /// By an attribute of the resource.
    pub asked: Option<&'a str>,
    /// By its state.
    pub remembered: Option<&'a str>,
}

/// Charts loaded in this process, shared by all resources.
#[derive(Debug, Default)]
pub struct Store {
    pub defaults: Charts,
    /// For the provider's own repository.
    credentials: Option<Credentials>,
    /// All of the provider's `charts` is unknown.
    is_unknown: bool,
    /// How to log in to the provider's own repository is unknown.
    has_unknown_login: bool,
    sources: Sources,
    /// The definitions of the Gateway API that were read last: they are a megabyte, and every cluster of a run wants
    /// the same.
    pub definitions: Mutex<Vec<(ReadAs, Entries)>>,
}

/// The objects of a release of the Gateway API, each with the label of its owner.
pub type Entries = Vec<Arc<Entry>>;

/// Where they are from, and whose they are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAs {
    pub place: String,
    pub version: String,
    pub digest: Option<String>,
    pub owner: String,
}

/// Charts as a refresh found them where they come from: whoever may write there can change them between a plan and its
/// apply, and another machine may have an older copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    #[serde(rename = "folder")]
    place: String,
    /// By name of the chart, with its version where a place has several.
    digests: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway_api: Option<NotedDefinitions>,
    #[serde(skip)]
    unfetched: Unfetched,
}

/// What was asked for, and is not to be had now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unfetched {
    /// As in `digests`, without a `v` before the version.
    charts: BTreeSet<String>,
    /// Place and version of the Gateway API's definitions.
    gateway_api: Option<(String, String)>,
}

impl Noted {
    /// What a repository has by now under a version that had another digest before. Who keeps charts in a folder may
    /// edit them.
    fn exchanged(&self, before: &Noted) -> Option<Diagnostic> {
        let of_repository = |(chart, _): &(&String, &String)| chart.contains(' ') && self.place == before.place;
        let others = self.digests.iter().filter(of_repository).filter_map(|(chart, digest)| {
            let was = before.digests.get(chart).filter(|was| *was != digest)?;
            Some(format!("- {chart}: {digest}, and it was {was}"))
        });
        let others: Vec<String> = others.collect();
        (!others.is_empty()).then(|| exchanged(&self.place, &others))
    }

    /// A place that does not answer for a while makes nobody forget what was there. What is no longer asked for is
    /// forgotten.
    fn keep_unfetched(&mut self, before: &Noted) {
        if self.place == before.place {
            let is_unfetched = |chart: &str| self.unfetched.charts.contains(&chart.replacen(" v", " ", 1));
            let unfetched = before.digests.iter().filter(|(chart, _)| is_unfetched(chart));
            self.digests.extend(unfetched.map(|(chart, digest)| (chart.clone(), digest.clone())));
        }
        if let Some((place, version)) = &self.unfetched.gateway_api {
            let is_asked = |known: &&NotedDefinitions| known.place == *place && known.version == *version;
            self.gateway_api = before.gateway_api.as_ref().filter(is_asked).cloned();
        }
    }
}

/// Remembers what the charts are now, and warns where a repository has exchanged one.
pub fn remember<C, P>(cx: &mut Ctx<C, P>, place: impl Fn(&mut P) -> &mut Option<Noted>, mut now: Option<Noted>) {
    if let (Some(now), Some(before)) = (&mut now, place(&mut cx.private).as_ref()) {
        now.keep_unfetched(before);
    }
    let before = std::mem::replace(place(&mut cx.private), now);
    let now = place(&mut cx.private).as_ref();
    let warning = now.zip(before).and_then(|(now, before)| now.exchanged(&before));
    warning.into_iter().for_each(|warning| cx.warn(warning));
}

/// The definitions of the Gateway API likewise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NotedDefinitions {
    place: String,
    version: String,
    /// Of what they say, whatever stands around it.
    digest: String,
}

/// How long a refresh waits for a repository. Whoever destroys needs no chart.
const FOR_NOTES: Duration = Duration::from_secs(5);

/// Why there is no chart.
pub enum Unavailable {
    /// Nothing the user can change in the configuration: the place does not answer.
    Unreachable(Diagnostic),
    /// The configuration names something that does not exist or is no chart.
    Wrong(Diagnostic),
}

impl Store {
    pub fn new(defaults: Value<ProviderCharts>) -> Store {
        let is_unknown = defaults.is_unknown();
        let defaults = defaults.or_default();
        let has_unknown_login = defaults.username.is_unknown() || defaults.password.is_unknown();
        let (defaults, credentials) = defaults.split();
        Store { defaults, credentials, is_unknown, has_unknown_login, ..Store::default() }
    }

    /// Whether it is still to be known which charts are meant, or how to get them: whoever plans takes none then, since
    /// the apply may take others.
    pub fn is_open(&self, charts: &Value<Charts>) -> bool {
        charts.is_unknown() || self.leaves_open(charts.known())
    }

    fn leaves_open(&self, charts: Option<&Charts>) -> bool {
        let said = || charts.into_iter().chain([&self.defaults]);
        let place = said().find(|charts| !(charts.directory.is_null() && charts.repository.is_null()));
        let version = said().find(|charts| !charts.version.is_null());
        let is_unknown = |charts: &Charts| {
            charts.directory.is_unknown() || charts.directory.is_null() && charts.repository.is_unknown()
        };
        let logs_in = |charts: &Charts| charts.directory.is_null() && charts.repository == self.defaults.repository;
        self.is_unknown && (place.is_none() || version.is_none())
            || place.is_some_and(|charts| is_unknown(charts) || self.has_unknown_login && logs_in(charts))
            || version.is_some_and(|charts| charts.version.is_unknown())
    }

    /// Whether the version is not for others to say: somebody names one, or the charts lie in a folder and are what
    /// they are.
    pub fn names_version(&self, charts: Option<&Charts>) -> bool {
        let says = |charts: &Charts| charts.version.is_known() || charts.directory.is_known();
        charts.is_some_and(says) || says(&self.defaults)
    }

    /// The version that `charts` name, by the resource's attribute over the provider's; that of a folder is what it
    /// holds.
    pub fn named_version<'a>(&'a self, charts: Option<&'a Charts>) -> Option<&'a str> {
        charts.into_iter().chain([&self.defaults]).find_map(|charts| charts.version.as_deref())
    }

    /// Whether they are in a folder, which holds one version.
    pub fn is_folder(&self, charts: Option<&Charts>) -> bool {
        matches!(self.location(charts), Ok((Location::Directory(_), _)))
    }

    /// The chart of this name, by the resource's attribute over the provider's; of a version that is remembered where
    /// nobody asks for one: a new default must not upgrade what is there.
    pub async fn chart(
        &self,
        name: &str,
        charts: Option<&Charts>,
        version: Version<'_>,
    ) -> Result<Arc<Chart>, Unavailable> {
        let (location, attribute) = self.location(charts).map_err(|error| unavailable(name, &error, "repository"))?;
        let asked = match version.asked {
            Some(asked) => Some((asked.to_owned(), Path::root("istio_version"))),
            None => self.named_version(charts).map(|asked| (asked.to_owned(), Path::root("charts").attr("version"))),
        };
        let version = asked.clone().map(|(asked, _)| asked).or_else(|| version.remembered.map(str::to_owned));
        let version = version.unwrap_or_else(|| DEFAULT_VERSION.to_owned());
        let chart = self.exactly(&location, charts, (name, &version)).await.map_err(|error| match error {
            source::Error::NoVersion { .. } => unavailable(name, &error, "version"),
            source::Error::UnpackedDigest { .. } => unavailable(name, &error, "digests"),
            _ => unavailable(name, &error, attribute),
        })?;
        match asked.filter(|(asked, _)| asked.trim_start_matches('v') != chart.version().trim_start_matches('v')) {
            Some((asked, path)) => Err(Unavailable::Wrong(another_version(&location, &chart, (&asked, path)))),
            None => Ok(chart),
        }
    }

    /// The chart of a name and a version, from a place.
    async fn exactly(
        &self,
        location: &Location,
        charts: Option<&Charts>,
        (name, version): (&str, &str),
    ) -> Result<Arc<Chart>, source::Error> {
        let is_own =
            charts.is_none_or(|charts| charts.repository.is_null() || charts.repository == self.defaults.repository);
        let credentials = self.credentials.as_ref().filter(|_| is_own && self.defaults.repository.is_known());
        let digest = self.pinned(charts, name);
        self.sources.chart(&Request { location, name, version: Some(version), digest, credentials }).await
    }

    fn pinned<'a>(&'a self, charts: Option<&'a Charts>, name: &str) -> Option<&'a str> {
        let digest = charts.into_iter().chain([&self.defaults]).find_map(|charts| charts.digests.entry(name));
        digest.map(String::as_str)
    }

    /// What these charts are now, where no digest pins them. One that is not to be had is left out: whoever needs it
    /// says so. Of a repository the version is asked for that `version` names, unless `charts` does.
    pub async fn noted(&self, charts: Option<&Charts>, names: &[&str], version: Option<&str>) -> Option<Noted> {
        if self.leaves_open(charts) {
            return None;
        }
        let (location, _) = self.location(charts).ok()?;
        let mut noted = Noted { place: location.to_string(), ..Noted::default() };
        for name in names {
            if self.pinned(charts, name).is_some() {
                continue;
            }
            match &location {
                Location::Directory(folder) => noted.digests.extend(source::folder_digests(folder, name)),
                _ => {
                    let remembered = Version { asked: None, remembered: version };
                    match tokio::time::timeout(FOR_NOTES, self.chart(name, charts, remembered)).await {
                        Ok(Ok(chart)) => {
                            noted.digests.insert(format!("{name} {}", chart.version()), chart.digest().to_owned());
                        }
                        _ => {
                            let version = self.named_version(charts).or(version).unwrap_or(DEFAULT_VERSION);
                            noted.unfetched.charts.insert(format!("{name} {}", version.trim_start_matches('v')));
                        }
                    }
                }
            }
        }
        Some(noted)
    }

    /// Refuses charts that are not those the last refresh `saw`. The core makes every plan again before it applies it,
    /// and would call what comes out of other charts a defect of the provider. Of a create there is nothing that the
    /// second plan could know of the first.
    pub async fn refuse_changed(&self, saw: Option<&Noted>, charts: Option<&Charts>) -> Result<(), Diagnostic> {
        let (Some(saw), Ok((location, attribute))) = (saw, self.location(charts)) else { return Ok(()) };
        if location.to_string() != saw.place {
            return Ok(());
        }
        for (chart, digest) in &saw.digests {
            let (name, version) = chart.split_once(' ').unwrap_or((chart, ""));
            if self.pinned(charts, name).is_some() {
                continue;
            }
            let is_as_seen = match &location {
                Location::Directory(folder) => source::folder_digest(folder, chart).as_ref() == Some(digest),
                // What cannot be fetched is no other chart.
                _ => match self.exactly(&location, charts, (name, version)).await {
                    Ok(found) => found.digest() == digest,
                    Err(_) => true,
                },
            };
            if !is_as_seen {
                return Err(changed_since(chart, &saw.place, attribute));
            }
        }
        Ok(())
    }

    /// Notes what the definitions of a release of the Gateway API are now, where no digest pins them.
    pub async fn note_definitions(&self, noted: &mut Noted, charts: Option<&Charts>, version: &str) {
        if self.pinned(charts, GATEWAY_API).is_some() {
            return;
        }
        let (place, version) = (self.gateway_api_place(charts), version.to_owned());
        match tokio::time::timeout(FOR_NOTES, self.gateway_api(charts, &version)).await {
            Ok(Ok(found)) => {
                noted.gateway_api = Some(NotedDefinitions { place, version, digest: digest_of(&found) });
            }
            _ => noted.unfetched.gateway_api = Some((place, version)),
        }
    }

    /// Refuses definitions that are not those the last refresh `saw`, as [`Self::refuse_changed`] does charts.
    pub async fn refuse_changed_definitions(
        &self,
        saw: Option<&Noted>,
        charts: Option<&Charts>,
        version: &str,
    ) -> Result<(), Diagnostic> {
        let saw = saw.and_then(|saw| saw.gateway_api.as_ref());
        let place = self.gateway_api_place(charts);
        let Some(saw) = saw.filter(|saw| saw.place == place && saw.version == version) else { return Ok(()) };
        if self.pinned(charts, GATEWAY_API).is_some() {
            return Ok(());
        }
        match self.gateway_api(charts, version).await {
            Ok(found) if digest_of(&found) != saw.digest => Err(definitions_changed_since(&place, version)),
            // What cannot be read is nothing else.
            _ => Ok(()),
        }
    }

    /// The definitions of a release of the Gateway API, as they stand where they come from.
    pub async fn gateway_api(&self, charts: Option<&Charts>, version: &str) -> Result<Vec<Json>, Unavailable> {
        let mut said = charts.into_iter().chain([&self.defaults]);
        let place = said.find_map(|charts| charts.gateway_api.known()).map_or(GATEWAY_API_PLACE, String::as_str);
        let digest = self.pinned(charts, GATEWAY_API);
        let asked = Manifests { place, name: GATEWAY_API, version, digest };
        self.sources.manifests(&asked).await.map_err(|error| unavailable(GATEWAY_API, &error, "gateway_api"))
    }

    /// Where they come from, as far as it tells one place from another.
    pub fn gateway_api_place(&self, charts: Option<&Charts>) -> String {
        let mut said = charts.into_iter().chain([&self.defaults]);
        said.find_map(|charts| charts.gateway_api.known().cloned()).unwrap_or_else(|| GATEWAY_API_PLACE.to_owned())
    }

    /// Where the charts are, and the attribute that says so.
    fn location(&self, charts: Option<&Charts>) -> Result<(Location, &'static str), source::Error> {
        for charts in charts.into_iter().chain([&self.defaults]) {
            if let Some(directory) = charts.directory.known() {
                return Ok((Location::Directory(PathBuf::from(directory)), "directory"));
            }
            if let Some(repository) = charts.repository.known() {
                return Ok((Location::parse(repository)?, "repository"));
            }
        }
        Ok((Location::parse(source::ISTIO_REPOSITORY)?, "repository"))
    }
}

/// A folder that holds another version than somebody asks for.
fn another_version(location: &Location, chart: &Chart, (asked, path): (&str, Path)) -> Diagnostic {
    let (name, there) = (chart.name(), chart.version());
    Diagnostic::error("No charts of this version").at(path.clone()).detail(format!(
        "{location} holds chart {name} of version {there}, asked for is {asked}. Put the charts of {asked} there, or point `charts.directory` to a folder that has them; or set `{path}` to {there:?}, \
         or leave it out, which takes what the folder holds."
    ))
}

fn unavailable(name: &str, error: &source::Error, attribute: &str) -> Unavailable {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        detail.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let diagnostic =
        |summary: String| Diagnostic::error(summary).detail(detail).at(Path::root("charts").attr(attribute));
    let what = if name == GATEWAY_API { "The Gateway API".to_owned() } else { format!("Chart {name}") };
    if error.is_transient() {
        Unavailable::Unreachable(diagnostic(format!("{what} cannot be fetched now")))
    } else {
        Unavailable::Wrong(diagnostic(format!("{what} cannot be loaded")))
    }
}

fn changed_since(chart: &str, place: &str, attribute: &str) -> Diagnostic {
    Diagnostic::error("The charts have changed since the plan").at(Path::root("charts").attr(attribute)).detail(format!(
        "The chart {chart} in {place} is not the one that the last refresh saw: somebody has changed it since, so that this apply would do something else than its plan says. Nothing was written. Plan again, \
         with a refresh. A digest in `charts.digests` keeps a packed chart as it is."
    ))
}

fn exchanged(place: &str, others: &[String]) -> Diagnostic {
    Diagnostic::warning("Charts have changed under the same version").at("charts").detail(format!(
        "What {place} holds under these versions is not what was applied:\n\n{}\n\nPublished charts do not change. If nobody of yours has edited or republished them, somebody else may have: look at `changes` of this plan, and compare with the publisher's archives, before you apply. `charts.digests` pins charts.",
        others.join("\n")
    ))
}

fn definitions_changed_since(place: &str, version: &str) -> Diagnostic {
    Diagnostic::error("The charts have changed since the plan").at(Path::root("charts").attr("gateway_api")).detail(format!(
        "The definitions of the Gateway API in {} are not those that the last refresh saw: somebody has changed them since, so that this apply would do something else than its plan says. Nothing was \
         written. Plan again, with a refresh. `gateway-api` in `charts.digests` keeps a file as it is.",
        place.replace("{version}", version)
    ))
}

fn digest_of(objects: &[Json]) -> String {
    let digest = Sha256::digest(Json::from(objects).to_string());
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A chart that could not be had at plan: no error where only its place does not answer.
pub fn without_chart<T, C, P>(cx: &mut Ctx<C, P>, unavailable: Unavailable) -> Result<Option<T>, Diagnostics> {
    match unavailable {
        Unavailable::Wrong(error) => Err(error.into()),
        Unavailable::Unreachable(why) => {
            cx.warn(Diagnostic { severity: Severity::Warning, ..why });
            Ok(None)
        }
    }
}

impl From<Unavailable> for Diagnostics {
    fn from(unavailable: Unavailable) -> Diagnostics {
        match unavailable {
            Unavailable::Unreachable(diagnostic) | Unavailable::Wrong(diagnostic) => diagnostic.into(),
        }
    }
}

#[cfg(test)]
#[path = "charts_tests.rs"]
mod tests;
