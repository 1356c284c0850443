//! What resources write into clusters, made from a plan without any cluster: the source of the page that lists it.
//!
//! Every object comes from the function that an apply sends it by. Keys and tokens in them are made for the purpose.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::chart::{Chart, Values};
use crate::cluster::{INSTANCE_ANNOTATION, OWNER_LABEL, Object, Owner};
use crate::diag::Diagnostics;
use crate::kept::instance::Place;
use crate::kept::objects::Wanted;
use crate::kept::render;

/// In place of the mark that a create draws.
pub const MARK: &str = "MARK";

/// Everything that one resource writes.
#[derive(Debug, Default)]
pub struct Written {
    pub objects: Vec<Placed>,
    pub charts: Vec<Given>,
}

/// An object, and where it is.
#[derive(Debug)]
pub struct Placed {
    /// Key of the provider's `clusters`.
    pub cluster: String,
    /// Its level in an apply.
    pub level: u8,
    pub object: Object,
    /// The attribute `objects` names it.
    pub recorded: bool,
}

/// What a chart is given.
#[derive(Debug)]
pub struct Given {
    pub chart: String,
    pub release: String,
    pub values: Json,
}

impl Written {
    /// The objects that are recorded in state, as an apply marks them.
    pub fn keep(&mut self, cluster: &str, wanted: &Wanted) {
        for (_, entry) in wanted.iter() {
            let object = match entry.object.label(OWNER_LABEL) {
                Some(_) => entry.object.clone().with_annotation(INSTANCE_ANNOTATION, MARK),
                None => entry.object.clone(),
            };
            let level = entry.reference.kind.order;
            self.objects.push(Placed { cluster: cluster.to_owned(), level, object, recorded: true });
        }
    }

    /// An object that is not.
    pub fn add(&mut self, cluster: &str, object: Object) -> Result<(), Diagnostics> {
        let level = render::reference(&object).map_err(|error| render::diagnostic(&error))?.kind.order;
        self.objects.push(Placed { cluster: cluster.to_owned(), level, object, recorded: false });
        Ok(())
    }

    /// The Lease of an instance whose first apply has ended.
    pub fn claim(&mut self, cluster: &str, place: Place<'_>) -> Result<(), Diagnostics> {
        self.add(cluster, place.completed(MARK))
    }

    pub fn give(&mut self, chart: &Arc<Chart>, release: &str, values: &Values) {
        let values = serde_json::from_str(&Json::Object(values.as_map().clone()).to_string()).unwrap_or_default();
        self.charts.push(Given { chart: chart.name().to_owned(), release: release.to_owned(), values });
    }
}

/// An owner with this label, and the mark.
pub fn owner(label: &str) -> Owner {
    Owner { label: label.to_owned(), mark: MARK.to_owned(), unmarked: false }
}
