//! `mesh_ca_request`: a key that stays in its cluster, and the request for its signature. Gather, build, apply, state:
//! in this order.

mod import;
mod list;
mod model;

use std::borrow::Cow;

pub use self::model::CaRequest;
use super::client::{self, Client};
use super::keeping::{self, Claiming, Refreshed, Remembered};
use super::signing::{self, OpenRequest, Requester};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Change, Ctx, Failed, Import, Moved, Plan, Resource};
use crate::keeps;
use crate::kept::claim::Claim;
use crate::kept::objects::Wanted;
use crate::kept::{self, namespace};
use crate::model;
use crate::pki::{KeyAlgorithm, SigningRequest};
use crate::resources::moved::{is_of_tls, refused_of_tls};
use crate::resources::written::Written;
use crate::value::Value;

/// A request for an intermediate.
pub struct MeshCaRequest;

model! {
    /// What tells a request from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the Secret.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Name of the Secret.
        #[attr(optional)]
        pub name: Value<String>,
    }
}

type Cx = Ctx<Client, Remembered>;

/// Every kind of object.
const KINDS: &[Kind] = &[Kind::SECRET];
/// On the Secret: which of the keys that were asked for it is.
const GENERATION_ANNOTATION: &str = "terraform-provider-mesh/generation";

keeps!(CaRequest, "mesh_ca_request" by "name", owner, |_| Cow::Borrowed(KINDS));

impl Resource for MeshCaRequest {
    type Client = Client;
    type Model = CaRequest;
    type Identity = Identity;
    type Private = Remembered;

    const NAME: &'static str = "ca_request";

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, CaRequest>) -> Result<(), Diagnostics> {
        derive_id(&mut plan.planned);
        keeping::begin(cx, plan)?;
        let planned = &mut plan.planned;
        let stays = plan.prior.filter(|prior| prior.generation == planned.generation);
        let request = stays.and_then(|prior| prior.certificate_request.known());
        planned.certificate_request = request.cloned().map_or(Value::Unknown, Value::Known);
        let wanted = wanted(planned);
        keeping::plan(cx, plan, wanted.as_ref());
        keeping::end(cx, plan);
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<CaRequest>) -> Result<CaRequest, Failed<CaRequest>> {
        let Change { prior, planned: mut state, .. } = change;
        derive_id(&mut state);
        let cluster = client::own(cx, state.cluster.text()).await?;
        let claiming = Claiming::of(&state, prior.as_ref());
        let claim = keeping::claim(cx, &cluster, &mut state, prior.as_ref(), claiming).await?;
        let outcome = write(cx, &claim, prior.as_ref(), state).await;
        keeping::end_apply(cx, claim, outcome).await
    }

    async fn read(&self, cx: &mut Cx, mut state: CaRequest) -> Result<Option<CaRequest>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        let cluster = client::own(cx, state.cluster.text()).await?;
        match keeping::refresh(cx, &cluster, &mut state).await? {
            Refreshed::Silent => {}
            Refreshed::Gone => return Ok(None),
            Refreshed::Seen(seen) if seen.taken_over.is_empty() => {
                let open = seen.live.values().find_map(OpenRequest::read);
                if open.is_none() && state.certificate_request.is_known() {
                    cx.warn(lost(&state));
                }
                // A request that others made is not handed to a signer: with the key of it they could issue
                // certificates.
                let is_of_others = open.as_ref().is_some_and(|open| is_of_another_key(open, &state));
                let same = seen.live.values().any(|live| Some(generation_of(live)) == state.generation.get());
                if same && is_of_others {
                    let managers = seen.live.values().flat_map(crate::cluster::managers).collect::<Vec<_>>();
                    cx.warn(exchanged(&state, &managers));
                }
                if !is_of_others {
                    state.certificate_request = open.map(|open| open.request.to_pem()).into();
                }
            }
            Refreshed::Seen(_) => {}
        }
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Cx, state: CaRequest) -> Result<(), Failed<CaRequest>> {
        keeping::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<CaRequest, Diagnostics> {
        import::import(cx, from).await
    }

    fn adopt(&self, source: Moved) -> Result<Option<CaRequest>, Diagnostics> {
        if is_of_tls(&source) {
            let instead = "This resource makes a key of its own in the cluster. Add it, sign its `certificate_request` as the other was signed, and apply.";
            return Err(refused_of_tls(&source, instead).into());
        }
        Ok(None)
    }

    fn identity(&self, model: &CaRequest) -> Identity {
        Identity { cluster: model.cluster.clone(), namespace: model.namespace.clone(), name: model.name.clone() }
    }
}

/// Everything after the claim.
async fn write(
    cx: &mut Cx,
    claim: &Claim,
    prior: Option<&CaRequest>,
    mut state: CaRequest,
) -> Result<CaRequest, Failed<CaRequest>> {
    let failed = |told: Diagnostics, state: &CaRequest| {
        let told = Failed::from(told);
        match prior {
            Some(prior) => told.keeping(CaRequest { instance: state.instance.clone(), ..prior.clone() }),
            None => told,
        }
    };
    let (open, is_found) = open(claim, &state, prior.is_some()).await.map_err(|error| failed(error.into(), &state))?;
    if is_found && prior.is_none() {
        cx.warn(taken_up(&state));
    }
    let promised = std::mem::replace(&mut state.certificate_request, open.request.to_pem().into());
    if promised.is_known() && promised != state.certificate_request {
        return Err(failed(changed(&state).into(), &state));
    }
    let mut wanted = wanted(&state).ok_or_else(|| Diagnostic::bug("There is no request."))?;
    wanted.amend(&reference(&state), |secret| signing::put_key(secret, &open.key.to_pem()));
    let converged = keeping::converge(cx, claim, &wanted, prior, &mut state).await;
    converged.map_err(|errors| failed(errors, &state))?;
    Ok(state)
}

fn derive_id(model: &mut CaRequest) {
    if let Some(id) = keeping::id(&model.cluster, &model.namespace, &model.name) {
        model.id = id.into();
    }
}

fn owner(model: &CaRequest) -> String {
    kept::owner("mesh_ca_request", model.namespace.text(), model.name.text())
}

fn reference(model: &CaRequest) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, model.namespace.text(), model.name.text())
}

/// The Secret without its key, which nothing records; `None` while the request is not known.
fn wanted(model: &CaRequest) -> Option<Wanted> {
    let (request, generation) = (model.certificate_request.known()?, model.generation.get()?);
    let secret = signing::requested(&reference(model), request);
    let mut wanted = Wanted::default();
    let secret = secret.with_annotation(GENERATION_ANNOTATION, &generation.to_string());
    wanted.insert(reference(model), secret, &owner(model));
    Some(wanted)
}

/// What the resource writes, for the page that lists it.
pub async fn written(planned: &CaRequest) -> Result<Written, Diagnostics> {
    let cluster = planned.cluster.text();
    let requester = Requester { organization: None, cluster, namespace: planned.namespace.text() };
    let open = OpenRequest::make(&signing::profile(requester), KeyAlgorithm::default()).await?;
    let planned = CaRequest { certificate_request: open.request.to_pem().into(), ..planned.clone() };
    let mut wanted = wanted(&planned).ok_or_else(|| Diagnostic::bug("There is no request."))?;
    wanted.amend(&reference(&planned), |secret| signing::put_key(secret, &open.key.to_pem()));
    let label = owner(&planned);
    let mut written = Written::default();
    written.add(cluster, namespace::plain(planned.namespace.text(), &label))?;
    written.keep(cluster, &wanted);
    written.claim(cluster, keeping::place(&planned, &label))?;
    Ok(written)
}

/// The key that is there, where it is this instance's and of the generation that is asked for, as after an apply that
/// was killed; else a new one. What others put there may be known to them.
///
/// Returns whether it was there.
async fn open(claim: &Claim, model: &CaRequest, is_known: bool) -> Result<(OpenRequest, bool), Diagnostic> {
    let live = claim.cluster().get(&reference(model)).await?;
    let own =
        live.filter(|live| claim.owner.has(live, is_known) && Some(generation_of(live)) == model.generation.get());
    if let Some(open) = own.as_ref().and_then(OpenRequest::read) {
        return Ok((open, true));
    }
    let requester = Requester {
        organization: model.organization.as_deref(),
        cluster: model.cluster.text(),
        namespace: model.namespace.text(),
    };
    let algorithm = KeyAlgorithm::from_name(model.algorithm.text()).unwrap_or_default();
    Ok((OpenRequest::make(&signing::profile(requester), algorithm).await?, false))
}

/// Whether the request that was found is for another key than the one in state.
fn is_of_another_key(found: &OpenRequest, model: &CaRequest) -> bool {
    let known = model.certificate_request.known().and_then(|pem| SigningRequest::from_pem(pem).ok());
    known.is_some_and(|known| known.public_key_info() != found.request.public_key_info())
}

fn generation_of(secret: &Object) -> i64 {
    secret.annotation(GENERATION_ANNOTATION).and_then(|number| number.parse().ok()).unwrap_or(1)
}

fn changed(model: &CaRequest) -> Diagnostic {
    Diagnostic::error("The key has changed since the plan").detail(format!(
        "{} in cluster {} no longer holds the key of the request that was planned. Nothing was written. Plan again. If somebody has put another key there, raise `generation`: that makes a new one.",
        reference(model),
        model.cluster.text()
    ))
}

fn lost(model: &CaRequest) -> Diagnostic {
    Diagnostic::warning(format!("The key of {} is lost", model.id.text())).detail(format!(
        "{} in cluster {} holds no key for its request any more. The cluster's intermediate, if there is one, stays in use. The next apply makes a new key and a new request, and a signer in this configuration signs that.",
        reference(model),
        model.cluster.text()
    ))
}

fn exchanged(model: &CaRequest, managers: &[String]) -> Diagnostic {
    Diagnostic::warning(format!("The key of {} was exchanged", model.id.text())).detail(format!(
        "{} in cluster {} holds another key than the one of the request in state, with a request for it. Whoever put it there knows the key. With a certificate for it they could issue certificates of the mesh, so neither the key nor its request is used. Fields of the Secret are managed by {}, which may show who it was. Raise \
         `generation`: the next apply makes a new key and a new request.",
        reference(model),
        model.cluster.text(),
        managers.join(", ")
    ))
}

/// Nothing but its Lease proves that an apply has made it.
fn taken_up(model: &CaRequest) -> Diagnostic {
    Diagnostic::warning(format!("The key of {} was there before", model.id.text())).detail(format!(
        "An apply that was cut off has left {} in cluster {} with a key and a request, and this one continues with them. If no apply was cut off, somebody else put the key there and knows it: raise `generation` before anything is signed.",
        reference(model),
        model.cluster.text()
    ))
}
