//! What the configuration of a page plans with a real CLI, taken on by a core in process: nobody is at the cluster.

use std::fs;

use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::charts::{ProviderCharts, Store};
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::resources::written::Written;
use terraform_provider_mesh::value::Dyn;
use terraform_provider_mesh::value::Value::Known;

use super::cli::{Workspace, clis};
use super::core::Core;
use crate::pages::mirror;

pub struct PlannedPage {
    /// The folder of Istio's charts.
    pub charts: String,
    pub store: Store,
    /// The resources that the CLI plans.
    pub resources: Vec<Json>,
    core: Core,
}

impl PlannedPage {
    /// Of these files of a module, by name. `None` where there is no CLI.
    pub async fn of(files: &[(String, String)]) -> Option<PlannedPage> {
        let cli = clis().into_iter().next()?;
        let charts = tools::charts(Istio::Current).expect("the charts").dir().display().to_string();
        let provider = json!({
            "clusters": {"east": {"host": "https://127.0.0.1:9", "token": "t"}}, "charts": {"directory": charts},
        });
        let mirror = mirror();
        let workspace = Workspace::mirrored(&cli, mirror.path());
        for (name, text) in files {
            fs::write(workspace.path(name), text).expect("a file");
        }
        let override_ = json!({"provider": {"mesh": provider}});
        fs::write(workspace.path("lab_override.tf.json"), override_.to_string()).expect("a file");
        workspace.run(&["init", "-input=false"]).ok();
        workspace.run(&["plan", "-input=false", "-out=plan.bin"]).ok();
        let plan = workspace.run(&["show", "-json", "plan.bin"]).ok().json();
        let resources = plan["planned_values"]["root_module"]["resources"].as_array().expect("resources").clone();
        let core = Core::new(Mesh, registry(), provider).await.expect("the provider can be configured");
        let store = Store::new(Known(ProviderCharts { directory: charts.clone().into(), ..ProviderCharts::default() }));
        Some(PlannedPage { charts, store, resources, core })
    }

    /// What a core plans of a resource's planned values.
    pub async fn planned(&self, resource: &Json) -> Dyn {
        let kind = resource["type"].as_str().expect("a type");
        self.core.plan(kind, Some(resource["values"].clone()), None).await.expect("a plan").planned
    }
}

/// The object of this kind and name among what is written.
pub fn object<'a>(written: &'a Written, kind: &str, name: &str) -> &'a Json {
    let mut objects = written.objects.iter().map(|placed| &placed.object);
    let found = objects.find(|object| object.kind() == kind && object.name() == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}")).value()
}
