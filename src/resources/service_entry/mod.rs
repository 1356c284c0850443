//! `mesh_service_entry`: a service of another mesh. Gather, parse, build, apply, state: in this order, here to be read.

mod build;
mod check;
mod import;
mod list;
mod look;
mod model;
mod remove;
mod sides;
mod spec;
#[cfg(test)]
mod tests;
mod written;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use self::look::{Meshes, look, unresolved, warning};
use self::model::Exported;
pub use self::model::ServiceEntry;
use self::sides::{
    Reached, Search, Step, Whose, before_in, export, exported_here, namespaces_of, read_exported, stub_address, without,
};
use self::spec::{Spec, default_name, owner};
pub use self::written::written;
use super::client::{self, Client};
use crate::cluster::Kind;
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Change, Ctx, Failed, Import, Plan, Resource};
use crate::keeps;
use crate::kept::changes;
use crate::kept::claim::{NewNamespace, Purpose};
use crate::kept::handover::{self, LeaseOf};
use crate::kept::instance::Instance;
use crate::kept::memory::Memory;
use crate::kept::objects::Recorded;
use crate::kept::plan::{Planned, Planning};
use crate::kept::read::{Look, Looked};
use crate::kept::report;
use crate::model;
use crate::resources::keeping::{self, Claiming};
use crate::resources::parsing;
use crate::value::{Path, Value};

/// A service of another mesh.
pub struct MeshServiceEntry;

model! {
    /// What tells an imported service from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the ServiceEntry.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Name of the ServiceEntry.
        #[attr(required)]
        pub name: Value<String>,
    }
}

/// Kept beside the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    instance: Instance,
    #[serde(default, alias = "spellings")]
    memory: Memory,
    /// Of the objects in exporting clusters, by cluster.
    #[serde(default)]
    exported: BTreeMap<String, Memory>,
}

type Cx = Ctx<Client, Private>;

/// Every kind of object in the importing cluster.
const IMPORTED_KINDS: &[Kind] = &[Kind::SERVICE, Kind::DESTINATION_RULE, Kind::SERVICE_ENTRY];
/// Every kind of object in an exporting cluster.
const EXPORTED_KINDS: &[Kind] = &[Kind::ISTIO_GATEWAY, Kind::SERVICE_ENTRY];

keeps!(ServiceEntry, Private, "mesh_service_entry" by "name", spec::label, |_| Cow::Borrowed(IMPORTED_KINDS));

impl Resource for MeshServiceEntry {
    type Client = Client;
    type Model = ServiceEntry;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "service_entry";
    const VERSION: i64 = 1;

    fn validate(&self, config: &ServiceEntry, diagnostics: &mut Diagnostics) {
        let mut config = config.clone();
        derive_names(&mut config);
        if let Err(errors) = Spec::parse(&config) {
            diagnostics.append(errors);
        }
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, ServiceEntry>) -> Result<(), Diagnostics> {
        let changed = plan.prior != Some(&plan.planned);
        let asked_for_name = plan.config.exported_host.is_known() || plan.config.exported_host.is_unknown();
        if !asked_for_name {
            plan.planned.exported_host = Value::Null;
        }
        derive_names_unless_open(plan);
        keeping::begin(cx, plan)?;
        let exporters = plan.planned.exporters.entries();
        let named = exporters.filter_map(|(key, exporter)| {
            Some((exporter.cluster.known()?.as_str(), Path::root("exporters").key(key).attr("cluster")))
        });
        client::known_clusters(cx, named)?;
        let spec = Spec::parse(&plan.planned)?;
        describe(&mut plan.planned, spec.as_ref());
        let Some(spec) = spec else { return Ok(()) };
        let contested = record_plan(&mut plan.planned, &spec, plan.prior, &cx.private);
        contested.into_iter().for_each(|warning| cx.warn(warning));
        let unchanged = plan
            .prior
            .is_some_and(|prior| prior.objects == plan.planned.objects && prior.exported == plan.planned.exported);
        plan.planned.findings = match plan.prior {
            Some(prior) if unchanged && !changed => prior.findings.clone(),
            _ => Value::Unknown,
        };
        keeping::end(cx, plan);
        if changed || !unchanged {
            let Meshes { findings, here } = look(cx, &plan.planned, &spec).await;
            if let Some(warning) = warning(&spec, &findings) {
                cx.warn(warning);
            }
            let deaf = here.is_some_and(|here| here.trust_domain.is_some() && !here.captures_dns);
            if plan.prior.is_none() && deaf && !spec.stub_service {
                cx.warn(unresolved(&spec));
            }
        }
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<ServiceEntry>) -> Result<ServiceEntry, Failed<ServiceEntry>> {
        attempt(cx, change).await
    }

    async fn read(&self, cx: &mut Cx, mut state: ServiceEntry) -> Result<Option<ServiceEntry>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        client::all_own(cx, places([&state])).await?;
        let cluster = client::own(cx, state.cluster.text()).await?;
        let recorded = Recorded::of(&state.objects, &cx.private.memory);
        let owner = owner(state.namespace.text(), state.name.text());
        let owner = cx.private.instance.owner(&owner, &state.instance);
        let refresh = Look {
            cluster: &cluster,
            recorded: &recorded,
            memory: &cx.private.memory,
            owner: &owner,
            lease_in: Some(state.namespace.text()),
        };
        let mut seen = match refresh.look().await? {
            Looked::Seen(seen) => *seen,
            Looked::Silent(warning) => {
                cx.warn(warning);
                return Ok(Some(state));
            }
        };
        without(&mut seen, state.objects.keys(), &exported_here(&state));
        (state.objects, state.changes) = seen.note(&mut cx.private.memory, &state.changes);
        let live = std::mem::take(&mut seen.live);
        if let Some(stub) = live.values().find(|object| object.kind() == "Service") {
            state.stub_address = stub.str("spec.clusterIP").to_owned().into();
        }
        read_exported(cx, &mut state, &owner, &mut seen).await?;
        // Gone is what is gone on both sides: what is left at an exporter is still to be removed.
        if seen.is_gone && state.exported.entries().next().is_none() {
            return Ok(None);
        }
        let lease = LeaseOf { cluster: &cluster, namespace: state.namespace.text(), owner: &owner };
        let unsaid = handover::refresh(lease, &mut cx.private.instance).await;
        seen.warnings(state.id.text()).into_iter().chain(unsaid).for_each(|warning| cx.warn(warning));
        if let Ok(Some(spec)) = Spec::parse(&state) {
            let found = look(cx, &state, &spec).await.findings;
            if let Some(warning) = warning(&spec, &found) {
                cx.warn(warning);
            }
            state.findings = found.into_iter().map(|finding| finding.text).collect();
        }
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Cx, state: ServiceEntry) -> Result<(), Failed<ServiceEntry>> {
        remove::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<ServiceEntry, Diagnostics> {
        import::import(cx, from).await
    }

    fn upgrade(&self, _from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        Ok(crate::kept::objects::upgraded(state))
    }

    fn identity(&self, model: &ServiceEntry) -> Identity {
        Identity { cluster: model.cluster.clone(), namespace: model.namespace.clone(), name: model.name.clone() }
    }

    fn generate_config(&self, state: &ServiceEntry, config: &mut ServiceEntry) {
        if state.destination_rule_name == state.name {
            config.destination_rule_name = Value::Null;
        }
        if state.name.as_deref() == Some(default_name(state.host.text()).as_str()) {
            config.name = Value::Null;
        }
    }
}

async fn attempt(cx: &mut Cx, change: Change<ServiceEntry>) -> Result<ServiceEntry, Failed<ServiceEntry>> {
    let Change { prior, planned: mut state, reached, .. } = change;
    derive_names(&mut state);
    let spec = parsing::complete(Spec::parse(&state)?)?;
    describe(&mut state, Some(&spec));
    client::all_own(cx, places(prior.iter().chain([&state]))).await?;
    let cluster = client::own(cx, state.cluster.text()).await?;
    let purpose = match prior {
        Some(_) => Purpose::Update { in_new_namespace: NewNamespace::Refused },
        // A service is imported into the namespace of who calls it: it is there, or misspelled.
        None => Purpose::Create { in_new_namespace: NewNamespace::Refused, trusts_what_is_made: true },
    };
    let claiming = Claiming { purpose, adopt: spec.adopt };
    let claim = match keeping::claim(cx, &cluster, &mut state, prior.as_ref(), claiming).await {
        Ok(claim) => claim,
        // Nothing was written. What a destroy is to do without a cluster that is gone is remembered all the same: no
        // other apply could say it.
        Err(error) => {
            let skip_unreachable_on_destroy = state.skip_unreachable_on_destroy;
            let partial = prior.map(|prior| ServiceEntry { skip_unreachable_on_destroy, ..prior });
            return Err(Failed { diagnostics: error.into(), partial });
        }
    };
    // Whatever fails from here on, state knows of it.
    claim.begin();
    let cluster = claim.cluster();

    let noted = claim.noted_places().await.map_err(|error| Diagnostic::from(&error))?;
    // The exporters first: once clients know the name, the gateways already accept its SNI.
    export(cx, &claim, &spec, prior.as_ref(), &mut state, &noted)
        .await
        .map_err(|errors| Failed::from(errors).keeping(state.clone()))?;
    reached.set(state.clone());
    let address = stub_address(&claim, &spec)
        .await
        .map_err(|error| Failed::from(Diagnostic::from(&error)).keeping(state.clone()))?;
    state.stub_address = address.map(|address| address.to_string()).into();
    let wanted = build::imported(&spec, address);
    let told = prior.as_ref().map(keeping::before);
    if state.changes.is_unknown() {
        state.changes = changes::planned(told, &cx.private.memory, &wanted.recorded());
    }
    let mut recorded = prior.as_ref().map(|prior| Recorded::of(&prior.objects, &cx.private.memory)).unwrap_or_default();
    let search = Search {
        cluster: &cluster,
        kinds: IMPORTED_KINDS,
        noted: &noted,
        namespaces: namespaces_of(&state),
        others: exported_here(&state),
    };
    let whose = Whose { owner: &claim.owner, interrupted: claim.interrupted };
    let strays = search.run(whose, &mut recorded).await;
    strays.map_err(|error| Failed::from(Diagnostic::from(&error)).keeping(state.clone()))?;
    let step =
        Step { cluster: &cluster, wanted: &wanted, prior: recorded, kinds: IMPORTED_KINDS, claim: &claim, spec: &spec };
    let Reached { recorded, warning, errors } = step.run(&mut cx.private.memory).await;
    warning.into_iter().for_each(|warning| cx.warn(warning));
    state.objects = cx.private.memory.record(&recorded);
    state.changes = changes::reached(&state.changes, told.map(|told| told.changes), &wanted.recorded(), &recorded);
    reached.set(state.clone());
    if !errors.is_empty() {
        return Err(Failed::from(report::diagnostics(&errors)).keeping(state));
    }
    let found = look(cx, &state, &spec).await.findings;
    state.findings = found.into_iter().map(|finding| finding.text).collect();
    let places = places([&state]);
    cx.private.instance.is_only_in(places.iter().map(String::as_str));
    keeping::finish(cx, claim).await;
    Ok(state)
}

/// A name that something else has yet to give is not the one that would follow from others.
fn derive_names_unless_open(plan: &mut Plan<'_, ServiceEntry>) {
    let (name, rule_name) = (plan.config.name.is_unknown(), plan.config.destination_rule_name.is_unknown());
    derive_names(&mut plan.planned);
    if name {
        (plan.planned.name, plan.planned.id) = (Value::Unknown, Value::Unknown);
    }
    if rule_name || name && plan.config.destination_rule_name.is_null() {
        plan.planned.destination_rule_name = Value::Unknown;
    }
}

/// The clusters that hold something of the service.
pub(super) fn places<'a>(states: impl IntoIterator<Item = &'a ServiceEntry>) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for state in states {
        let exporters = state.exporters.entries().filter_map(|(_, exporter)| exporter.cluster.known());
        let held = state.exported.keys().chain(exporters.map(String::as_str)).chain([state.cluster.text()]);
        places.extend(held.map(str::to_owned));
    }
    places
}

/// Computed names that follow from others.
fn derive_names(model: &mut ServiceEntry) {
    if !model.name.is_known() {
        model.name = model.host.clone().map(|host| default_name(&host));
    }
    if !model.destination_rule_name.is_known() {
        model.destination_rule_name = model.name.clone();
    }
    if let (Some(cluster), Some(namespace), Some(name)) =
        (model.cluster.known(), model.namespace.known(), model.name.known())
    {
        model.id = format!("{cluster}/{namespace}/{name}").into();
    }
}

/// What follows from the spec without asking anyone.
fn describe(model: &mut ServiceEntry, spec: Option<&Spec>) {
    let Some(spec) = spec else {
        (model.objects, model.changes, model.exported) = (Value::Unknown, Value::Unknown, Value::Unknown);
        (model.sni, model.endpoints, model.findings) = (Value::Unknown, Value::Unknown, Value::Unknown);
        (model.subject_alt_names, model.resolution) = (Value::Unknown, Value::Unknown);
        match ahead(model) {
            Some(spec) => describe_names(model, &spec),
            None if model.exported_host.is_known() => {}
            None => model.exported_host = Value::Unknown,
        }
        return;
    };
    describe_names(model, spec);
    model.resolution = spec.import.resolution().into();
}

/// What does not depend on where the gateways are.
fn describe_names(model: &mut ServiceEntry, spec: &Spec) {
    let import = &spec.import;
    model.exported_host = import.remote_host.to_string().into();
    model.sni = import.ports.iter().map(|port| (port.name.clone(), import.sni(port, None).to_string())).collect();
    model.endpoints =
        import.ports.iter().map(|port| (port.name.clone(), format!("{}:{}", import.host, port.number))).collect();
    model.subject_alt_names = import.subject_alt_names().into_iter().collect();
}

/// The spec but for the gateways' addresses, which in the first plan of two meshes are not known yet: SNI and
/// identities are to be seen all the same.
fn ahead(model: &ServiceEntry) -> Option<Spec> {
    let mut model = model.clone();
    let documentation = || self::model::Gateway { value: "192.0.2.1".into(), port: 15443.into() };
    for exporter in model.exporters.known_mut()?.values_mut().filter_map(Value::known_mut) {
        if !exporter.gateways.is_null() {
            exporter.gateways = [documentation()].into_iter().collect();
        }
    }
    Spec::parse(&model).ok().flatten()
}

/// What the plan says of the objects on both sides, and what is to be said of fields that others hold.
fn record_plan(
    planned: &mut ServiceEntry,
    spec: &Spec,
    prior: Option<&ServiceEntry>,
    private: &Private,
) -> Vec<Diagnostic> {
    let (id, force) = (planned.id.text().to_owned(), planned.force_conflicts);
    let mut contested = Vec::new();
    let address: Option<IpAddr> = planned.stub_address.as_deref().and_then(|address| address.parse().ok());
    match (spec.stub_service, address) {
        (true, None) => {
            (planned.objects, planned.changes, planned.stub_address) = (Value::Unknown, Value::Unknown, Value::Unknown);
        }
        (stub, _) => {
            let address = address.filter(|_| stub);
            planned.stub_address = address.map(|address| address.to_string()).into();
            let plan = Planning {
                id: &id,
                before: prior.map(keeping::before),
                memory: &private.memory,
                force_conflicts: force,
            };
            let objects = plan.objects(&build::imported(spec, address));
            (planned.objects, planned.changes) = (objects.objects, objects.changes);
            contested.extend(objects.warning);
        }
    }
    let exported = build::exported(spec);
    planned.exported = exported
        .into_iter()
        .map(|(cluster, wanted)| {
            let before = prior.and_then(|prior| before_in(prior, &cluster));
            let memory = private.exported.get(&cluster).cloned().unwrap_or_default();
            let id = format!("{id} in {cluster}");
            let plan = Planning { id: &id, before, memory: &memory, force_conflicts: force };
            let Planned { objects, changes, warning } = plan.objects(&wanted);
            contested.extend(warning);
            (cluster, Exported { objects, changes })
        })
        .collect();
    contested
}
