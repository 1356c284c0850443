//! `mesh_note`: a text in a ConfigMap, and all that a resource without waits of its own consists of. No user has it:
//! it is what `CONTRIBUTING.md` shows whoever adds a resource, and `kept_alike.rs` holds it to what the others are held
//! to.

use std::borrow::Cow;

use serde_json::json;
use terraform_provider_mesh::cluster::{Kind, Object, ObjectRef};
use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::engine::{Change, Ctx, Failed, Import, Plan, Resource};
use terraform_provider_mesh::kept::objects::Wanted;
use terraform_provider_mesh::kept::{self, read};
use terraform_provider_mesh::resources::client::{self, Client};
use terraform_provider_mesh::resources::keeping::{self, Claiming, Refreshed, Remembered};
use terraform_provider_mesh::value::{Map, Value};
use terraform_provider_mesh::{keeps, model};

/// A text in a cluster.
pub struct MeshNote;

model! {
    /// What tells a note from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the ConfigMap.
        #[attr(required)]
        pub namespace: Value<String>,
        /// Name of the ConfigMap.
        #[attr(required)]
        pub name: Value<String>,
    }
}

model! {
    /// A text in a ConfigMap.
    pub struct Note {
        /// A key of the provider's `clusters`.
        #[attr(required, replace, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Namespace of the ConfigMap; created if need be.
        #[attr(default("notes"), replace, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of the ConfigMap.
        #[attr(required, replace, validate(dns_subdomain()))]
        pub name: Value<String>,
        /// The text.
        #[attr(required)]
        pub text: Value<String>,
        /// Take over a ConfigMap of the same name that is someone else's.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// Take fields that another field manager owns.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// `cluster/namespace/name`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// The Kubernetes objects, each with a digest of its owned fields.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those of these objects that stay.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
    }
}

type Cx = Ctx<Client, Remembered>;

/// Every kind of object.
const KINDS: &[Kind] = &[Kind::CONFIG_MAP];

keeps!(Note, "mesh_note" by "name", label, |_| Cow::Borrowed(KINDS));

impl Resource for MeshNote {
    type Client = Client;
    type Model = Note;
    type Identity = Identity;
    type Private = Remembered;

    const NAME: &'static str = "note";

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, Note>) -> Result<(), Diagnostics> {
        derive_id(&mut plan.planned);
        keeping::begin(cx, plan)?;
        let wanted = wanted(&plan.planned);
        keeping::plan(cx, plan, wanted.as_ref());
        keeping::end(cx, plan);
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<Note>) -> Result<Note, Failed<Note>> {
        let Change { prior, planned: mut state, reached, .. } = change;
        derive_id(&mut state);
        let wanted = wanted(&state).ok_or_else(|| Diagnostic::bug("An attribute is not known at apply."))?;
        let cluster = client::own(cx, state.cluster.text()).await?;
        let claiming = Claiming::of(&state, prior.as_ref());
        let claim = keeping::claim(cx, &cluster, &mut state, prior.as_ref(), claiming).await?;
        let converged = keeping::converge(cx, &claim, &wanted, prior.as_ref(), &mut state).await;
        reached.set(state.clone());
        converged?;
        // What a resource waits for, it waits for here.
        keeping::finish(cx, claim).await;
        Ok(state)
    }

    async fn read(&self, cx: &mut Cx, mut state: Note) -> Result<Option<Note>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        let cluster = client::own(cx, state.cluster.text()).await?;
        match keeping::refresh(cx, &cluster, &mut state).await? {
            Refreshed::Gone => Ok(None),
            Refreshed::Silent | Refreshed::Seen(_) => Ok(Some(state)),
        }
    }

    async fn delete(&self, cx: &mut Cx, state: Note) -> Result<(), Failed<Note>> {
        keeping::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<Note, Diagnostics> {
        let mut note = target(from)?;
        derive_id(&mut note);
        let cluster = client::cluster(cx, note.cluster.text())?;
        let live = cluster.get(&reference(&note)).await.map_err(Diagnostic::from)?;
        let text = live.as_ref().and_then(|live| live.get("data.text")?.as_str());
        let text = text.ok_or_else(|| {
            let detail = format!("{} in cluster {} does not exist or has no text.", reference(&note), cluster.name());
            Diagnostic::error("No such note").detail(detail)
        })?;
        note.text = text.to_owned().into();
        keeping::imported(cx, &cluster, &mut note).await.map_err(Diagnostic::from)?;
        let recorded = wanted(&note).map(|wanted| wanted.recorded()).unwrap_or_default();
        let live = read::live(&cluster, &recorded, &cx.private.memory).await.map_err(Diagnostic::from)?;
        let (seen, _) = recorded.seen(&live, &cx.private.memory);
        (note.objects, note.changes) = (cx.private.memory.record(&seen), Value::Known(Map::new()));
        Ok(note)
    }

    fn identity(&self, note: &Note) -> Identity {
        Identity { cluster: note.cluster.clone(), namespace: note.namespace.clone(), name: note.name.clone() }
    }
}

fn target(from: Import<Identity>) -> Result<Note, Diagnostic> {
    let place = match from {
        Import::Identity(Identity { cluster, namespace, name }) => [cluster, namespace, name],
        Import::Id(id) => match id.split('/').collect::<Vec<_>>()[..] {
            [cluster, namespace, name] => [cluster.into(), namespace.into(), name.into()],
            _ => {
                let detail = format!("{id:?} is not of the form `cluster/namespace/name`, such as `east/notes/first`.");
                return Err(Diagnostic::error("Not an id of a note").detail(detail));
            }
        },
    };
    let [cluster, namespace, name] = place;
    Ok(Note { cluster, namespace, name, adopt: false.into(), force_conflicts: false.into(), ..Note::default() })
}

fn derive_id(note: &mut Note) {
    if let Some(id) = keeping::id(&note.cluster, &note.namespace, &note.name) {
        note.id = id.into();
    }
}

fn label(note: &Note) -> String {
    kept::owner("mesh_note", note.namespace.text(), note.name.text())
}

fn reference(note: &Note) -> ObjectRef {
    ObjectRef::namespaced(Kind::CONFIG_MAP, note.namespace.text(), note.name.text())
}

/// `None` while something of it is not known.
fn wanted(note: &Note) -> Option<Wanted> {
    let text = note.text.known()?;
    note.id.known()?;
    let mut wanted = Wanted::default();
    let object = Object::of(&reference(note)).with("data", json!({ "text": text }));
    wanted.insert(reference(note), object, &label(note));
    Some(wanted)
}
