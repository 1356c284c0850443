//! Every attribute of everything the provider offers, at every depth, with values that nobody means: null, unknown,
//! empty, blank, huge, and characters that do not show. Each is an error at its place, or the plan is the one without
//! it; nothing is a defect of the provider, and no object comes out weaker.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::diag::{Diagnostics, hides};
use terraform_provider_mesh::engine::rpc::*;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::schema::{Attribute, Schema};
use terraform_provider_mesh::value::{Dyn, Path, Step, Type};

use crate::support::core::{Core, encode, value};
use crate::support::every_input_bases as bases;
use crate::support::odd_values::{Odd, Sort, odd_values};

/// How long anything may take over one value, in a debug build beside other tests.
const LIMIT: Duration = Duration::from_secs(20);

fn provider() -> Json {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let at = |host: &str| json!({"host": host, "token": "t"});
    json!({
        "clusters": {"east": at("https://127.0.0.1:9"), "west": at("https://127.0.0.1:9")},
        "charts": {"directory": charts.dir()},
    })
}

/// Where the charts of these tests lie.
pub fn charts_folder() -> String {
    tools::charts(Istio::Current).expect("the charts can be unpacked").dir().display().to_string()
}

/// What a configuration came to.
#[derive(Debug)]
struct Outcome {
    told: Diagnostics,
    /// The plan or the answer; `None` after an error.
    result: Option<Dyn>,
    took: Duration,
}

impl Outcome {
    fn errors(&self) -> Vec<(Path, String)> {
        let errors = self.told.iter().filter(|told| told.is_error());
        errors.map(|error| (error.path.clone().unwrap_or_default(), error.to_string())).collect()
    }
}

/// One thing of the registry.
#[derive(Clone, Copy, Debug)]
enum Thing<'a> {
    Provider,
    Resource(&'a str),
    DataSource(&'a str),
    List(&'a str),
    Action(&'a str),
}

impl Thing<'_> {
    fn schema(self, core: &Core) -> Schema {
        let schema = core.engine.schema();
        match self {
            Thing::Provider => schema.provider.clone(),
            Thing::Resource(name) => schema.resources[name].clone(),
            Thing::DataSource(name) => schema.data_sources[name].clone(),
            Thing::List(name) => schema.list_resources[name].clone(),
            Thing::Action(name) => schema.actions[name].clone(),
        }
    }

    async fn try_with(self, core: &Core, config: &Dyn) -> Outcome {
        let begun = Instant::now();
        let (told, result) = self.ask(core, config).await;
        Outcome { result: (!told.has_errors()).then_some(result), told, took: begun.elapsed() }
    }

    async fn ask(self, core: &Core, config: &Dyn) -> (Diagnostics, Dyn) {
        let schema = self.schema(core);
        let encoded = encode(config, &schema);
        let capabilities = core.capabilities;
        let of = |name: &str| ValidateConfig { type_name: name.to_owned(), config: encoded.clone(), capabilities };
        match self {
            Thing::Provider => {
                let mut told =
                    core.engine.validate_provider_config(ValidateProviderConfig { config: encoded.clone() }).await;
                if !told.has_errors() {
                    let terraform_version = "1.14.0".to_owned();
                    let request = ConfigureProvider { terraform_version, config: encoded, capabilities };
                    told.append(core.engine.configure_provider(request).await);
                }
                (told, Dyn::Null)
            }
            Thing::Resource(name) => {
                let mut told = core.validate_value(name, config).await;
                // Nobody answers at a repository that only validation has to do with.
                let is_fetched = config.at(&Path::root("charts").attr("repository")).is_some_and(|url| !url.is_null());
                if told.has_errors() || is_fetched {
                    return (told, config.clone());
                }
                core.configure(provider()).await.expect("the provider can be configured");
                match core.plan_against(name, config.clone(), None).await {
                    Ok(planned) => {
                        told.append(planned.warnings);
                        (told, planned.planned)
                    }
                    Err(errors) => {
                        told.append(errors);
                        (told, Dyn::Null)
                    }
                }
            }
            Thing::DataSource(name) => {
                let told = core.engine.validate_data_resource_config(of(name)).await;
                (told, config.clone())
            }
            Thing::List(name) => (core.engine.validate_list_resource_config(of(name)).await, config.clone()),
            Thing::Action(name) => {
                let mut told = core.engine.validate_action_config(of(name)).await;
                if !told.has_errors() {
                    core.configure(provider()).await.expect("the provider can be configured");
                    let action = Action { type_name: name.to_owned(), config: encoded.clone(), capabilities };
                    told.append(core.engine.plan_action(action).await.diagnostics);
                }
                (told, config.clone())
            }
        }
    }
}

/// A configuration with one odd value in it.
struct Case {
    at: Path,
    odd: Odd,
    config: Dyn,
    /// The configuration without the element or attribute.
    without: Dyn,
}

/// All cases of a configuration, attribute by attribute.
fn cases(attributes: &[Attribute], schema: &Schema, base: &Dyn) -> Vec<Case> {
    let mut cases = Vec::new();
    for attribute in attributes.iter().filter(|attribute| !attribute.is_computed_only()) {
        let given = base.attr(&attribute.name).filter(|given| !given.is_null());
        let Some(given) = given else { continue };
        let Type::Object(types) = schema.ty() else { panic!("a schema is an object") };
        let rebuild = |new: Option<Dyn>| {
            let mut config = base.clone();
            config.set_attr(&attribute.name, new.unwrap_or(Dyn::Null));
            config
        };
        visit(given, &types[&attribute.name], &Path::root(&attribute.name), false, &rebuild, &mut cases);
    }
    cases
}

fn visit(
    given: &Dyn,
    ty: &Type,
    at: &Path,
    element: bool,
    rebuild: &dyn Fn(Option<Dyn>) -> Dyn,
    cases: &mut Vec<Case>,
) {
    for odd in odd_values(given, ty, element) {
        let config = rebuild(Some(odd.value.clone()));
        cases.push(Case { at: at.clone(), odd, config, without: rebuild(None) });
    }
    match (given, ty) {
        (Dyn::Object(members), Type::Object(types)) => {
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                let inner = |new: Option<Dyn>| {
                    let mut changed = given.clone();
                    changed.set_attr(name, new.unwrap_or(Dyn::Null));
                    rebuild(Some(changed))
                };
                visit(member, &types[name], &at.attr(name), false, &inner, cases);
            }
        }
        (Dyn::List(elements), Type::List(ty)) => {
            for (index, element) in elements.iter().enumerate() {
                let inner = |new: Option<Dyn>| rebuild(Some(Dyn::List(spliced(elements, index, new))));
                visit(element, ty, &at.index(index), true, &inner, cases);
            }
        }
        (Dyn::Set(elements), Type::Set(ty)) => {
            for (index, element) in elements.iter().enumerate() {
                let inner = |new: Option<Dyn>| rebuild(Some(Dyn::set(spliced(elements, index, new))));
                // Elements of a set have no address.
                visit(element, ty, at, true, &inner, cases);
            }
        }
        (Dyn::Map(elements), Type::Map(ty)) => {
            for (key, element) in elements {
                let inner = |new: Option<Dyn>| {
                    let mut elements = elements.clone();
                    elements.remove(key);
                    elements.extend(new.map(|new| (key.clone(), new)));
                    rebuild(Some(Dyn::Map(elements)))
                };
                visit(element, ty, &at.key(key), true, &inner, cases);
                for odd in odd_values(&Dyn::from(key.as_str()), &Type::String, true) {
                    let Dyn::String(other) = &odd.value else { continue };
                    let mut elements = elements.clone();
                    elements.remove(key);
                    let without = rebuild(Some(Dyn::Map(elements.clone())));
                    elements.insert(other.clone(), element.clone());
                    let config = rebuild(Some(Dyn::Map(elements)));
                    cases.push(Case { at: at.key(other), odd, config, without });
                }
            }
        }
        _ => {}
    }
}

/// The same with all else that can be set unknown, and what is set as well unless it is `known`: as both cores validate
/// a module whose attributes are variables. What would be one too many may turn out to be null.
fn open(attributes: &[Attribute], base: &Dyn, known: bool) -> Dyn {
    let opened = |attribute: &Attribute| {
        let given = base.attr(&attribute.name).filter(|given| !given.is_null());
        let inside = |element: &Dyn| {
            attribute.nested().map_or(Dyn::Unknown(None), |nested| open(&nested.attributes, element, known))
        };
        let value = match (attribute.is_computed_only(), attribute.nested(), given) {
            (true, ..) => Dyn::Null,
            (_, Some(_), Some(Dyn::Map(elements))) => {
                Dyn::Map(elements.iter().map(|(key, element)| (key.clone(), inside(element))).collect())
            }
            (_, Some(_), Some(Dyn::List(elements))) => Dyn::List(elements.iter().map(inside).collect()),
            (_, Some(_), Some(object @ Dyn::Object(_))) => inside(object),
            (_, None, Some(given)) if known => given.clone(),
            _ => Dyn::Unknown(None),
        };
        (attribute.name.clone(), value)
    };
    Dyn::Object(attributes.iter().map(opened).collect())
}

fn spliced(elements: &[Dyn], index: usize, new: Option<Dyn>) -> Vec<Dyn> {
    let mut elements = elements.to_vec();
    elements.splice(index..=index, new);
    elements
}

/// What a case must come to, and what is wrong with what it came to.
async fn judge(thing: Thing<'_>, core: &Core, base: &Outcome, (case, outcome): (&Case, Outcome)) -> Option<String> {
    let errors = outcome.errors();
    let all = errors.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    if let Some(bug) =
        outcome.told.iter().find(|told| told.summary == "Provider bug" || told.detail.contains("panicked"))
    {
        return Some(format!("a defect: {bug}"));
    }
    if let Some(long) = outcome.told.iter().find(|told| told.summary.len() + told.detail.len() > 20_000) {
        return Some(format!("a message of {} bytes", long.detail.len()));
    }
    if let Some(hidden) = outcome.told.to_string().chars().find(|c| !matches!(c, '\n' | '\t') && hides(*c)) {
        return Some(format!("a message shows {hidden:?}: {all:?}"));
    }
    if outcome.result.is_none() {
        let is_there = |path: &Path| path.steps().starts_with(case.at.steps());
        return match case.odd.sort {
            Sort::Unknown => Some(format!("what is not known yet is refused: {all}")),
            // A set's elements and what is in them are told of at the set.
            _ if errors.iter().any(|(path, _)| is_there(path)) => None,
            _ if bases::is_told_elsewhere(&pattern(&case.at)) => None,
            Sort::Empty if thing.try_with(core, &case.without).await.result.is_none() => None,
            Sort::Other if errors.iter().all(|(path, _)| !path.is_empty()) => None,
            _ => Some(format!("the error is elsewhere: {all}")),
        };
    }
    let result = outcome.result.as_ref()?;
    match case.odd.sort {
        Sort::NullElement => Some("a null element is taken".to_owned()),
        Sort::Empty if bases::may_be_empty(&pattern(&case.at)) => None,
        Sort::Empty => {
            let without = thing.try_with(core, &case.without).await;
            match &without.result {
                Some(without) => (computed(thing, core, without) != computed(thing, core, result))
                    .then(|| "taken, and not as if it were left out".to_owned()),
                None => Some("taken although what is left out is refused".to_owned()),
            }
        }
        Sort::Hidden if !bases::takes_any_text(&pattern(&case.at)) => Some("taken".to_owned()),
        Sort::Unknown => None,
        _ if !case.odd.is_text => None,
        _ => weaker(thing, core, base.result.as_ref()?, result),
    }
}

/// A path without its keys and indices.
fn pattern(path: &Path) -> String {
    let steps = path.steps().iter().map(|step| match step {
        Step::Attr(name) => name.as_str(),
        Step::Key(_) | Step::Index(_) => "*",
    });
    steps.collect::<Vec<_>>().join(".")
}

/// What a plan computes, without what was configured.
fn computed(thing: Thing<'_>, core: &Core, planned: &Dyn) -> Dyn {
    let schema = thing.schema(core);
    let computed = schema.attributes.iter().filter(|attribute| attribute.is_computed_only());
    Dyn::object(
        computed.map(|attribute| (&attribute.name, planned.attr(&attribute.name).cloned().unwrap_or(Dyn::Null))),
    )
}

/// A collection that a plan computes and that has become smaller than without the odd value.
fn weaker(thing: Thing<'_>, core: &Core, base: &Dyn, result: &Dyn) -> Option<String> {
    let (base, result) = (computed(thing, core, base), computed(thing, core, result));
    let Dyn::Object(members) = &base else { return None };
    members.iter().find_map(|(name, before)| {
        let (before, after) = (size(before)?, size(result.attr(name)?)?);
        (after < before).then(|| format!("`{name}` has {after} elements in place of {before}"))
    })
}

fn size(value: &Dyn) -> Option<usize> {
    match value {
        Dyn::List(elements) => Some(elements.len()),
        Dyn::Set(elements) => Some(elements.len()),
        Dyn::Map(elements) => Some(elements.len()),
        _ => None,
    }
}

async fn drive(thing: Thing<'_>, configs: Vec<Json>) {
    let core = Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured");
    let mut cores = Vec::new();
    for _ in 0..16 {
        cores.push(Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured"));
    }
    let schema = thing.schema(&core);
    let mut failures = Vec::new();
    let (mut tried, mut covered) = (0, BTreeSet::new());
    for config in configs {
        let config = value(&config, &schema.ty());
        let base = thing.try_with(&core, &config).await;
        assert!(base.result.is_some(), "{thing:?} refuses what the test begins with: {}", base.told);
        for (what, known) in [("nothing", false), ("no more than this", true)] {
            let open = thing.try_with(&core, &open(&schema.attributes, &config, known)).await;
            if open.result.is_none() {
                failures.push(format!("where {what} is known yet: {}", open.told));
            }
        }
        let cases = cases(&schema.attributes, &schema, &config);
        // What several configurations have in common is tried once.
        let cases: Vec<Case> = cases.into_iter().filter(|case| !covered.contains(&pattern(&case.at))).collect();
        tried += cases.len();
        // Most of the time goes into waiting for nobody to answer. What a plan declares of the mesh is its core's: each
        // has its own.
        let shares = cores.iter().enumerate().map(|(share, core)| {
            let cases = cases.iter().skip(share).step_by(cores.len());
            judge_all(thing, core, &base, cases)
        });
        let (wrong, slow): (Vec<_>, Vec<_>) = join_all(shares).await.into_iter().unzip();
        failures.extend(wrong.into_iter().flatten());
        // What took long beside all the others is asked again by itself.
        let slow = slow.into_iter().flatten().collect::<Vec<_>>();
        let (wrong, slow) = judge_all(thing, &core, &base, slow.into_iter()).await;
        failures.extend(wrong);
        failures.extend(slow.into_iter().map(|case| format!("{} {}: it takes over {LIMIT:?}", case.at, case.odd.what)));
        covered.extend(cases.iter().map(|case| pattern(&case.at)));
    }
    let missing: Vec<String> = paths(&schema).into_iter().filter(|path| !covered.contains(path)).collect();
    println!("{thing:?}: {tried} configurations, {} attributes", covered.len());
    assert!(missing.is_empty(), "no configuration of this test sets {missing:?} of {thing:?}");
    assert!(failures.is_empty(), "{thing:?}: {} of {tried}:\n{}", failures.len(), failures.join("\n"));
}

async fn judge_all<'a>(
    thing: Thing<'_>,
    core: &Core,
    base: &Outcome,
    cases: impl Iterator<Item = &'a Case>,
) -> (Vec<String>, Vec<&'a Case>) {
    let (mut failures, mut slow) = (Vec::new(), Vec::new());
    for case in cases {
        let outcome = thing.try_with(core, &case.config).await;
        if outcome.took > LIMIT {
            slow.push(case);
        } else if let Some(wrong) = judge(thing, core, base, (case, outcome)).await {
            failures.push(format!("{} {}: {wrong}", case.at, case.odd.what));
        }
    }
    (failures, slow)
}

/// The paths of all that can be configured.
fn paths(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    let configurable = schema.attributes.iter().filter(|attribute| !attribute.is_computed_only());
    for attribute in configurable {
        paths_of(attribute, "", &mut found);
    }
    found
}

fn paths_of(attribute: &Attribute, within: &str, found: &mut Vec<String>) {
    use terraform_provider_mesh::schema::{Nested, Nesting, Shape};

    let path = format!("{within}{}", attribute.name);
    found.push(path.clone());
    if let Shape::Nested(Nested { nesting, attributes }) = &attribute.shape {
        let inner = match nesting {
            Nesting::Single | Nesting::Set => format!("{path}."),
            Nesting::List | Nesting::Map => format!("{path}.*."),
        };
        for attribute in attributes.iter().filter(|attribute| !attribute.is_computed_only()) {
            paths_of(attribute, &inner, found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_provider_block() {
    drive(Thing::Provider, bases::provider()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_data_sources_lists_and_actions() {
    let core = Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured");
    let schema = core.engine.schema();
    for name in schema.data_sources.keys() {
        drive(Thing::DataSource(name), bases::of(name, &schema.data_sources[name])).await;
    }
    for name in schema.list_resources.keys() {
        drive(Thing::List(name), bases::of_list(&schema.list_resources[name])).await;
    }
    for name in schema.actions.keys() {
        drive(Thing::Action(name), bases::of(name, &schema.actions[name])).await;
    }
}

macro_rules! resources {
    ($($test:ident $name:literal),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let core = Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured");
                drive(Thing::Resource($name), bases::of($name, &core.engine.schema().resources[$name])).await;
            }
        )*

        #[tokio::test]
        async fn every_resource_is_driven() {
            let core = Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured");
            let driven = [$($name),*];
            let all: Vec<&str> = core.engine.schema().resources.keys().map(String::as_str).collect();
            assert_eq!(all, driven);
        }
    };
}

resources! {
    of_mesh_ca "mesh_ca",
    of_mesh_ca_request "mesh_ca_request",
    of_mesh_eastwest_gateway "mesh_eastwest_gateway",
    of_mesh_primary "mesh_primary",
    of_mesh_remote_cluster "mesh_remote_cluster",
    of_mesh_service_entry "mesh_service_entry",
}

/// A function answers or says which argument is wrong; of an argument that is not known yet it says nothing.
#[tokio::test]
async fn of_functions() {
    let core = Core::new(Mesh, registry(), provider()).await.expect("the provider can be configured");
    let mut failures = Vec::new();
    for (name, signature) in &core.engine.schema().functions {
        let parameters: Vec<_> = signature.parameters.iter().chain(&signature.variadic).collect();
        let base = bases::arguments(name, &parameters.iter().map(|parameter| parameter.ty.clone()).collect::<Vec<_>>());
        let call = async |arguments: &[Dyn]| {
            let encoded = arguments.iter().zip(&parameters).map(|(argument, parameter)| Encoded {
                msgpack: terraform_provider_mesh::value::msgpack::encode(argument, &parameter.ty).expect("it fits"),
                json: Vec::new(),
            });
            core.engine.call_function(CallFunction { name: name.clone(), arguments: encoded.collect() }).await.result
        };
        if let Err(error) = call(&base).await {
            panic!("{name} refuses what the test begins with: {error:?}");
        }
        for (index, given) in base.iter().enumerate() {
            let more = bases::odd_arguments(name);
            let odd = odd_values(given, &parameters[index].ty, false).into_iter();
            for odd in odd.chain(more.iter().map(|text| Odd::other("a made-up text", Dyn::from(*text)))) {
                let mut arguments = base.clone();
                arguments[index] = odd.value.clone();
                let wrong = match (odd.sort, call(&arguments).await) {
                    (_, Err(error)) if error.text.contains("defect") || error.text.contains("panicked") => error.text,
                    (Sort::Unknown, Err(error)) => format!("what is not known yet is refused: {}", error.text),
                    (_, Err(error)) if error.argument != Some(index as i64) => format!("blames another: {error:?}"),
                    (Sort::Hidden | Sort::Empty, Ok(_)) if !bases::takes_any_text(&format!("{name}.{index}")) => {
                        "taken".to_owned()
                    }
                    _ => continue,
                };
                failures.push(format!("{name} argument {index} {}: {wrong}", odd.what));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
