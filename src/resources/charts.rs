//! The `charts` attribute, of the provider and of resources, and the way from it to a loaded chart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chart::{self, Chart};
use crate::diag::Diagnostic;
use crate::model;
use crate::value::{Path, Value};

/// The version of Istio that is taken when nobody names one.
pub const DEFAULT_VERSION: &str = "1.31.1";

model! {
    /// Where Istio's charts come from.
    pub struct Charts {
        /// Helm repository (`https://…`) or OCI registry (`oci://…`) that holds the charts. The default is Istio's own.
        #[attr(optional)]
        pub repository: Value<String>,
        /// Folder that holds the unpacked charts, each in a folder of its own name, for use without a network.
        #[attr(optional)]
        pub directory: Value<String>,
        /// Version of the charts.
        #[attr(optional)]
        pub version: Value<String>,
    }
}

/// Charts loaded in this process, shared by all resources.
#[derive(Debug, Default)]
pub struct Store {
    pub defaults: Charts,
    loaded: Mutex<BTreeMap<PathBuf, Arc<Chart>>>,
}

/// Why there is no chart.
pub enum Unavailable {
    /// Nothing the user can change in the configuration: the place does not answer.
    Unreachable(Diagnostic),
    /// The configuration names something that does not exist or is no chart.
    Wrong(Diagnostic),
}

impl Store {
    pub fn new(defaults: Charts) -> Store {
        Store { defaults, ..Store::default() }
    }

    /// The chart of this name, by the resource's attribute over the provider's.
    pub async fn chart(
        &self,
        name: &str,
        charts: Option<&Charts>,
        _version: Option<&str>,
    ) -> Result<Arc<Chart>, Unavailable> {
        let directory = charts.and_then(|charts| charts.directory.known()).or(self.defaults.directory.known());
        let Some(directory) = directory else {
            return Err(Unavailable::Unreachable(Diagnostic::error("Chart repositories are not supported yet")));
        };
        let path = PathBuf::from(directory).join(name);
        if let Some(chart) = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(&path) {
            return Ok(chart.clone());
        }
        let chart = Arc::new(Chart::from_dir(&path).map_err(|error| wrong(name, &error))?);
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(path, chart.clone());
        Ok(chart)
    }
}

fn wrong(name: &str, error: &chart::Error) -> Unavailable {
    Unavailable::Wrong(
        Diagnostic::error(format!("Chart {name} cannot be loaded"))
            .detail(error.to_string())
            .at(Path::root("charts").attr("directory")),
    )
}
