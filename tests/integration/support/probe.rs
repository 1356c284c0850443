//! A provider for tests only, as a process: one resource with every kind of attribute and nesting, whose objects are
//! files in a folder. It is not in the shipped binary: the test binary starts itself again as the provider.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::engine::{
    Change, Configure, Ctx, DataSource, Engine, Ephemeral, Failed, Import, Opened, Plan, Provider, Registry, Resource,
};
use terraform_provider_mesh::model;
use terraform_provider_mesh::plugin::{self, Environment, Mode, Plugin};
use terraform_provider_mesh::value::{Dyn, List, Map, Number, Set, Value};

pub const ADDRESS: &str = "registry.terraform.io/terraform-provider-mesh/probe";
const ROLE: &str = "MESH_TEST_PROBE";

/// Puts an executable into `folder` by which a core starts this binary as the provider.
///
/// libtest writes to standard output, which is the handshake's; the handshake therefore leaves by descriptor 3.
pub fn install(folder: &Path) {
    let file = folder.join("terraform-provider-probe");
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexec 3>&1 >/dev/null\n{ROLE}=1 exec '{}' --exact support::probe::provider_process --ignored --nocapture\n",
        own.display()
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[ignore = "no test: the process that `install` starts"]
fn provider_process() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).ok();
    plugin::start_log(variable);
    plugin::log_panics();
    let announce = fs::File::options().write(true).open("/dev/fd/3").unwrap();
    let registry = Registry::new().resource(Thing).data_source(Things).ephemeral(Secret);
    let plugin = Plugin { engine: Engine::new(Probe, registry), address: ADDRESS };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mode = Mode::Core(Environment::parse(variable).unwrap());
    runtime.block_on(plugin::serve(plugin, mode, announce, std::future::ready(()))).unwrap();
    runtime.shutdown_background();
}

pub struct Probe;

/// The folder of the files.
pub struct Folder(PathBuf);

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

model! {
    /// A provider that tests use.
    pub struct ProbeConfig {
        /// Folder that the things live in.
        #[attr(required, validate(non_empty()))]
        pub folder: Value<String>,
    }
}

impl Provider for Probe {
    type Config = ProbeConfig;
    type Client = Folder;

    const NAME: &'static str = "probe";

    async fn configure(&self, configure: Configure<ProbeConfig>) -> Result<Folder, Diagnostics> {
        Ok(Folder(configure.config.folder.text().into()))
    }
}

model! {
    /// A thing with everything a schema can have.
    pub struct ThingModel {
        /// Name, and id.
        #[attr(required, replace, validate(dns_label()))]
        pub name: Value<String>,
        /// A text.
        #[attr(optional, same(|a, b| a.as_str().map(str::to_lowercase) == b.as_str().map(str::to_lowercase)))]
        pub text: Value<String>,
        /// Yes or no.
        #[attr(default(true))]
        pub flag: Value<bool>,
        /// A whole number.
        #[attr(default(5), validate(between(1, 20)))]
        pub count_of: Value<i64>,
        /// Any number.
        #[attr(optional)]
        pub ratio: Value<Number>,
        /// In order.
        #[attr(optional)]
        pub hosts: Value<List<String>>,
        /// Without order.
        #[attr(optional)]
        pub tags: Value<Set<String>>,
        /// By key.
        #[attr(optional)]
        pub labels: Value<Map<String>>,
        /// A map of lists.
        #[attr(optional)]
        pub groups: Value<Map<List<Number>>>,
        /// One part.
        #[attr(optional)]
        pub single: Value<Part>,
        /// Parts in order.
        #[attr(optional)]
        pub parts: Value<List<Part>>,
        /// Parts without order.
        #[attr(optional)]
        pub bag: Value<Set<Plain>>,
        /// Parts by name.
        #[attr(optional)]
        pub named: Value<Map<Part>>,
        /// A value of any type.
        #[attr(optional)]
        pub anything: Value<Dyn>,
        /// Hidden in plans.
        #[attr(optional, sensitive)]
        pub hidden: Value<String>,
        /// Never stored.
        #[attr(optional, write_only)]
        pub secret_wo: Value<String>,
        /// Counts up when the secret changes.
        #[attr(optional)]
        pub secret_wo_version: Value<i64>,
        /// Milliseconds that an apply takes.
        #[attr(optional)]
        pub delay: Value<i64>,
        /// Where an apply fails: `before` or `after` the file is written.
        #[attr(optional, validate(one_of(&["before", "after", "panic"])))]
        pub fail: Value<String>,
        /// The name again.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// How often the thing was written.
        #[attr(computed)]
        pub generation: Value<i64>,
        /// Length of the secret.
        #[attr(computed)]
        pub secret_length: Value<i64>,
    }
}

model! {
    /// A part that computes.
    pub struct Part {
        /// Size.
        #[attr(required)]
        pub size: Value<i64>,
        /// Colour.
        #[attr(default("red"))]
        pub colour: Value<String>,
        /// Twice the size.
        #[attr(computed)]
        pub double: Value<i64>,
        /// Smaller parts.
        #[attr(optional)]
        pub inner: Value<Map<Plain>>,
    }
}

model! {
    /// A part that does not compute.
    pub struct Plain {
        /// Size.
        #[attr(required)]
        pub size: Value<i64>,
        /// A note.
        #[attr(optional)]
        pub note: Value<String>,
    }
}

model! {
    /// Identity of a thing.
    pub struct ThingIdentity {
        /// Its name.
        #[attr(required)]
        pub name: Value<String>,
    }
}

pub struct Thing;

/// What a thing's file holds: what an API would know of it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    generation: i64,
    text: Option<String>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    secret_length: i64,
}

impl Resource for Thing {
    type Client = Folder;
    type Model = ThingModel;
    type Identity = ThingIdentity;
    type Private = ();

    const NAME: &'static str = "thing";

    async fn plan(&self, _: &mut Ctx<Folder>, plan: &mut Plan<'_, ThingModel>) -> Result<(), Diagnostics> {
        doubled(&mut plan.planned, false);
        Ok(())
    }

    async fn apply(&self, cx: &mut Ctx<Folder>, change: Change<ThingModel>) -> Result<ThingModel, Failed<ThingModel>> {
        let file = cx.client()?.file(change.config.name.text());
        let mut state = change.planned;
        if state.fail.text() == "before" {
            return Err(Diagnostic::error("Failed before writing").into());
        }
        doubled(&mut state, true);
        state.id = state.name.clone();
        state.generation = Value::Known(change.prior.and_then(|prior| prior.generation.get()).unwrap_or_default() + 1);
        let secret = change.config.secret_wo.known().map_or(0, |secret| secret.len() as i64);
        state.secret_length = Value::Known(secret);
        let stored = Stored {
            generation: state.generation.get().unwrap_or_default(),
            text: state.text.known().cloned(),
            labels: state
                .labels
                .is_known()
                .then(|| state.labels.entries().map(|(key, value)| (key.to_owned(), value.clone())).collect()),
            secret_length: secret,
        };
        fs::write(&file, serde_json::to_string(&stored).unwrap()).unwrap();
        change.reached.set(state.clone());
        match state.fail.text() {
            "after" => return Err(Diagnostic::error("Failed after writing").into()),
            "panic" => panic!("as the configuration wants it"),
            _ => {}
        }
        let delay = Duration::from_millis(state.delay.get().unwrap_or_default().unsigned_abs());
        cx.run("waiting as long as the configuration says", tokio::time::sleep(delay)).await?;
        Ok(state)
    }

    async fn read(&self, cx: &mut Ctx<Folder>, mut state: ThingModel) -> Result<Option<ThingModel>, Diagnostics> {
        let name = state.id.text().to_owned();
        let Ok(text) = fs::read_to_string(cx.client()?.file(&name)) else { return Ok(None) };
        let stored: Stored = serde_json::from_str(&text).unwrap();
        state.name = Value::Known(name);
        state.text = stored.text.map_or(Value::Null, Value::Known);
        state.labels = stored.labels.map_or(Value::Null, |labels| {
            Value::Known(labels.into_iter().map(|(key, value)| (key, Value::Known(value))).collect())
        });
        state.generation = Value::Known(stored.generation);
        state.secret_length = Value::Known(stored.secret_length);
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Ctx<Folder>, state: ThingModel) -> Result<(), Failed<ThingModel>> {
        let _ = fs::remove_file(cx.client()?.file(state.id.text()));
        Ok(())
    }

    async fn import(&self, _: &mut Ctx<Folder>, from: Import<ThingIdentity>) -> Result<ThingModel, Diagnostics> {
        let id = match from {
            Import::Id(id) => id,
            Import::Identity(identity) => identity.name.text().to_owned(),
        };
        Ok(ThingModel {
            id: Value::Known(id),
            flag: Value::Known(true),
            count_of: Value::Known(5),
            ..ThingModel::default()
        })
    }

    fn identity(&self, model: &ThingModel) -> ThingIdentity {
        ThingIdentity { name: model.name.clone() }
    }
}

/// Settles the computed attribute of each part whose size is known.
fn doubled(model: &mut ThingModel, all: bool) {
    let double = |part: &mut Value<Part>| {
        if let Some(part) = part.known_mut()
            && (all || !part.size.is_unknown())
        {
            part.double = part.size.get().map_or(Value::Null, |size| Value::Known(2 * size));
        }
    };
    double(&mut model.single);
    model.parts.known_mut().into_iter().flatten().for_each(double);
    model.named.known_mut().into_iter().flat_map(|map| map.values_mut()).for_each(double);
}

model! {
    /// How many things there are.
    pub struct ThingsModel {
        /// Names must begin with this.
        #[attr(optional)]
        pub prefix: Value<String>,
        /// The names.
        #[attr(computed)]
        pub names: Value<List<String>>,
    }
}

pub struct Things;

impl DataSource for Things {
    type Client = Folder;
    type Model = ThingsModel;

    const NAME: &'static str = "things";

    async fn read(&self, cx: &mut Ctx<Folder>, mut config: ThingsModel) -> Result<ThingsModel, Diagnostics> {
        let files = fs::read_dir(&cx.client()?.0).unwrap();
        let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(config.prefix.text())).collect();
        names.sort();
        config.names = Value::Known(names.into_iter().map(Value::Known).collect());
        Ok(config)
    }
}

model! {
    /// A secret that lives for one run.
    pub struct SecretModel {
        /// How long it is.
        #[attr(required)]
        pub length: Value<i64>,
        /// The secret.
        #[attr(computed, sensitive)]
        pub value: Value<String>,
    }
}

pub struct Secret;

impl Ephemeral for Secret {
    type Client = Folder;
    type Model = SecretModel;
    type Private = ();

    const NAME: &'static str = "secret";

    async fn open(&self, _: &mut Ctx<Folder>, mut config: SecretModel) -> Result<Opened<SecretModel>, Diagnostics> {
        let length = config.length.get().unwrap_or_default().unsigned_abs() as usize;
        config.value = Value::Known("geheim".chars().cycle().take(length).collect());
        Ok(Opened { result: config, renew_at: None })
    }
}
