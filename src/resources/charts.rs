//! The `charts` attribute, of the provider and of resources, and the way from it to a loaded chart.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::chart::Chart;
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::engine::Ctx;
use crate::model;
use crate::schema::Validator;
use crate::schema::validate::text;
use crate::source::{self, Credentials, Location, Manifests, Request, Sources};
use crate::value::{Map, Path, Value};

/// The Gateway API in `digests`, and a chart of it.
pub const GATEWAY_API: &str = "gateway-api";
/// Where the project publishes it.
const GATEWAY_API_PLACE: &str =
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/v{version}/standard-install.yaml";

/// The version of Istio that is taken when nobody names one.
pub const DEFAULT_VERSION: &str = "1.31.1";

model! {
    /// Where Istio's charts come from.
    pub struct Charts {
        /// Helm repository (`https://…`) or OCI registry (`oci://…`) that holds the charts. The default is Istio's own.
        /// Credentials do not go in here: the provider block's `charts` has places for them.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(not_plain_http()))]
        pub repository: Value<String>,
        /// Folder that holds the unpacked charts, each in a folder of its own name, for use without a network.
        #[attr(optional, validate(non_empty()))]
        pub directory: Value<String>,
        /// Version of the charts; a folder must hold just this one. Where nobody says it, gateways and remotes take
        /// that of their control plane. For that they have to refer to it, as in `cluster = mesh_primary.east.cluster`:
        /// otherwise it may be planned after them.
        #[attr(optional, validate(non_empty()))]
        pub version: Value<String>,
        /// Digests of the charts' archives (`sha256:…`), by name of the chart: `base`, `istiod`, `gateway`. What is
        /// fetched must have just this one. `gateway-api` stands for the file of the Gateway API's definitions.
        #[attr(optional, validate(each(digest())))]
        pub digests: Value<Map<String>>,
        /// Where the definitions of the Gateway API come from, for control planes with `gateway_api`. It is a folder or
        /// a file of manifests, an `https://` URL of such a file, or a chart with them in its folder `crds` (`oci://…`
        /// or a `.tgz` file). `{version}` in it stands for the release. The default is the project's own release of the
        /// standard channel.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(not_plain_http()))]
        pub gateway_api: Value<String>,
    }
}

model! {
    /// Where Istio's charts come from, and how to log in there.
    pub struct ProviderCharts {
        /// Helm repository (`https://…`) or OCI registry (`oci://…`) that holds the charts. The default is Istio's own.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(not_plain_http()))]
        pub repository: Value<String>,
        /// Folder that holds the unpacked charts, each in a folder of its own name, for use without a network.
        #[attr(optional, validate(non_empty()))]
        pub directory: Value<String>,
        /// Version of the charts.
        #[attr(optional, validate(non_empty()))]
        pub version: Value<String>,
        /// Digests of the charts' archives (`sha256:…`), by name of the chart: `base`, `istiod`, `gateway`. What is
        /// fetched must have just this one. `gateway-api` stands for the file of the Gateway API's definitions.
        #[attr(optional, validate(each(digest())))]
        pub digests: Value<Map<String>>,
        /// Where the definitions of the Gateway API come from, for control planes with `gateway_api`. It is a folder or
        /// a file of manifests, an `https://` URL of such a file, or a chart with them in its folder `crds` (`oci://…`
        /// or a `.tgz` file). `{version}` in it stands for the release. The default is the project's own release of the
        /// standard channel.
        #[attr(optional, validate(non_empty()), validate(without_user_info()), validate(not_plain_http()))]
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

/// What comes over plain http may have been changed on its way, and charts decide what runs with all rights.
fn not_plain_http() -> Validator {
    Validator::new("an https or oci address", |value, path, diagnostics| {
        let url = value.as_str().and_then(|url| url.parse::<http::Uri>().ok());
        let Some(url) = url.filter(|url| url.scheme_str() == Some("http")) else { return };
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_local {
            diagnostics.push(
                Diagnostic::warning("Charts come over plain http")
                    .detail("Anybody between this machine and the repository decides what is installed. Use https or oci, or pin the charts by `digests`.")
                    .at(path.clone()),
            );
        }
    })
}

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
    sources: Sources,
}

/// Charts that lie in a folder, as a refresh saw them: whoever may write there can change them between a plan and its
/// apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFolder {
    folder: String,
    /// By name of the chart.
    digests: BTreeMap<String, String>,
}

/// Why there is no chart.
pub enum Unavailable {
    /// Nothing the user can change in the configuration: the place does not answer.
    Unreachable(Diagnostic),
    /// The configuration names something that does not exist or is no chart.
    Wrong(Diagnostic),
}

impl Store {
    pub fn new(defaults: ProviderCharts) -> Store {
        let (defaults, credentials) = defaults.split();
        Store { defaults, credentials, ..Store::default() }
    }

    /// Whether the version is not for others to say: somebody names one, or the charts lie in a folder and are what
    /// they are.
    pub fn names_version(&self, charts: Option<&Charts>) -> bool {
        let says = |charts: &Charts| charts.version.is_known() || charts.directory.is_known();
        charts.is_some_and(says) || says(&self.defaults)
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
        let of = |charts: &Charts| charts.version.known().cloned();
        let by_charts = || charts.and_then(of).or_else(|| of(&self.defaults));
        let asked = match version.asked {
            Some(asked) => Some((asked.to_owned(), Path::root("istio_version"))),
            None => by_charts().map(|asked| (asked, Path::root("charts").attr("version"))),
        };
        let version = asked.clone().map(|(asked, _)| asked).or_else(|| version.remembered.map(str::to_owned));
        let version = version.unwrap_or_else(|| DEFAULT_VERSION.to_owned());
        let digest = charts.into_iter().chain([&self.defaults]).find_map(|charts| charts.digests.entry(name));
        let is_own =
            charts.is_none_or(|charts| charts.repository.is_null() || charts.repository == self.defaults.repository);
        let credentials = self.credentials.as_ref().filter(|_| is_own && self.defaults.repository.is_known());
        let request = Request {
            location: &location,
            name,
            version: Some(&version),
            digest: digest.map(String::as_str),
            credentials,
        };
        let chart = self.sources.chart(&request).await.map_err(|error| match error {
            source::Error::NoVersion { .. } => unavailable(name, &error, "version"),
            _ => unavailable(name, &error, attribute),
        })?;
        match asked.filter(|(asked, _)| asked.trim_start_matches('v') != chart.version().trim_start_matches('v')) {
            Some((asked, path)) => Err(Unavailable::Wrong(another_version(&location, &chart, (&asked, path)))),
            None => Ok(chart),
        }
    }

    /// These charts, where they come from a folder. One that is not there is left out: whoever needs it says so.
    pub async fn in_folder(&self, charts: Option<&Charts>, names: &[&str]) -> Option<InFolder> {
        let (Location::Directory(folder), _) = self.location(charts).ok()? else { return None };
        let mut digests = BTreeMap::new();
        for name in names {
            if let Ok(chart) = self.chart(name, charts, Version::default()).await {
                digests.insert((*name).to_owned(), chart.digest().to_owned());
            }
        }
        Some(InFolder { folder: folder.display().to_string(), digests })
    }

    /// Refuses charts that are not those the last refresh `saw`. The core makes every plan again before it applies it,
    /// and would call what comes out of other charts a defect of the provider.
    pub async fn refuse_changed(&self, saw: Option<&InFolder>, charts: Option<&Charts>) -> Result<(), Diagnostic> {
        let Some(saw) = saw else { return Ok(()) };
        let names: Vec<&str> = saw.digests.keys().map(String::as_str).collect();
        match self.in_folder(charts, &names).await {
            Some(found) if found.folder == saw.folder => {
                let changed = saw.digests.iter().find(|(name, digest)| found.digests.get(*name) != Some(digest));
                changed.map_or(Ok(()), |(name, _)| Err(changed_since(name, &saw.folder)))
            }
            _ => Ok(()),
        }
    }

    /// The definitions of a release of the Gateway API, as they stand where they come from.
    pub async fn gateway_api(&self, charts: Option<&Charts>, version: &str) -> Result<Vec<Json>, Unavailable> {
        let mut said = charts.into_iter().chain([&self.defaults]);
        let place = said.find_map(|charts| charts.gateway_api.known()).map_or(GATEWAY_API_PLACE, String::as_str);
        let digest = charts.into_iter().chain([&self.defaults]).find_map(|charts| charts.digests.entry(GATEWAY_API));
        let asked = Manifests { place, name: GATEWAY_API, version, digest: digest.map(String::as_str) };
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

fn changed_since(name: &str, folder: &str) -> Diagnostic {
    Diagnostic::error("The charts have changed since the plan").at(Path::root("charts").attr("directory")).detail(format!(
        "The chart {name} in {folder} is not the one that the last refresh saw: somebody has changed it since, so that this apply would do something else than its plan says. Nothing was written. Plan again, \
         with a refresh."
    ))
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
