//! The readers' tokens. Each watcher has one of its own, bound to a Secret of its own in the watched cluster: deleting
//! that Secret revokes the token at once, and that of no other watcher. Tokens pass through; none is kept, logged or
//! told.
//!
//! A run that is killed after [`issue`] leaves a token that nobody has and that is still valid. A refresh calls it a
//! leftover (`refresh.rs`); the next apply, or the create that takes the instance up (`Link::may_have_tokens`), deletes
//! its Secret once the istiods are in sync (`link.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::secret;
use super::spec::{Spec, TokenSpec, bindings};
use crate::cluster::{
    Applied, Apply, BoundTo, Cluster, Delete, Error, Failure, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object,
    ObjectRef, Owner, Query, Secret, TokenRequest, wait,
};
use crate::mesh::{Schedule, Token};
use crate::resources::token;

/// On a Secret that a token is bound to: the watcher that has the token.
pub const WATCHER_ANNOTATION: &str = "terraform-provider-mesh/watcher";
/// On a Secret that holds a token without an end: whose token Kubernetes writes into it.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// A token to make.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    pub watched: &'a Cluster,
    pub owner: &'a Owner,
    pub spec: &'a Spec,
    pub watcher: &'a str,
    /// Whether the watcher may have had a token before.
    pub again: bool,
    /// Where the watcher's remote secrets are, once its istiods are known to be in sync with this one.
    pub secrets: Option<&'a Cluster>,
}

/// A token just made.
pub struct Issued {
    pub token: Token,
    /// The Secret it is bound to.
    pub binding: ObjectRef,
}

/// Makes a token beside those the watcher may have.
pub async fn issue(order: Order<'_>) -> Result<Issued, Error> {
    let number = if order.again { next_number(order).await? } else { 1 };
    let (binding, applied) = match bind(order, number).await {
        // A link that is taken over has had tokens of another instance: they are not this one's to replace.
        Err(error) if matches!(error.failure, Failure::Foreign(_)) && !order.again => {
            bind(order, next_number(order).await?).await?
        }
        bound => bound?,
    };
    let token = match order.spec.token.long_lived {
        true => long_lived(order.watched, &binding).await?,
        false => bounded(order, &applied.object).await?,
    };
    Ok(Issued { token, binding })
}

async fn bind(order: Order<'_>, number: u64) -> Result<(ObjectRef, Applied), Error> {
    let binding = binding_reference(order.spec, order.watcher, number);
    let object = binding_object(order.spec, order.owner, order.watcher, &binding);
    let applied = order.watched.apply(Apply { force: true, ..Apply::new(object, order.owner.clone()) }).await?;
    Ok((binding, applied))
}

/// The number after all that were given, whoever gave them.
async fn next_number(order: Order<'_>) -> Result<u64, Error> {
    let given = labelled(order.watched, order.spec.namespace.as_str(), order.owner).await?;
    let of_watcher = given.iter().filter(|secret| secret.annotation(WATCHER_ANNOTATION) == Some(order.watcher));
    Ok(of_watcher.filter_map(|secret| generation(secret.name())).max().unwrap_or(0).saturating_add(1))
}

/// The Secret that the first token of a watcher is bound to.
pub fn first_binding(spec: &Spec, owner: &Owner, watcher: &str) -> Object {
    binding_object(spec, owner, watcher, &binding_reference(spec, watcher, 1))
}

/// Marks what the tokens of a state of before marks are bound to. Once the instance counts as marked, what carries no
/// mark is nobody's to replace or to revoke.
pub async fn mark(watched: &Cluster, spec: &Spec, owner: &Owner) -> Result<(), Error> {
    for binding in listed(watched, spec.namespace.as_str(), owner).await? {
        if binding.annotation(INSTANCE_ANNOTATION).is_some() {
            continue;
        }
        let watcher = binding.annotation(WATCHER_ANNOTATION).unwrap_or_default();
        let account = binding.annotation(ACCOUNT_ANNOTATION);
        let object = bound_object(account, owner, watcher, &binding.reference_as(Kind::SECRET));
        watched.apply(Apply { known: true, force: true, ..Apply::new(object, owner.clone()) }).await?;
    }
    Ok(())
}

fn binding_reference(spec: &Spec, watcher: &str, generation: u64) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, spec.namespace.as_str(), binding_name(spec, watcher, generation))
}

/// Asks the API server whether the token holds.
pub async fn prove(watched: &Cluster, token: &Token) -> Result<(), Error> {
    watched.with_token(Secret::new(token.reveal())).whoami().await.map(drop)
}

/// Revokes every token of the watcher but the one bound to `keep` and, of the tokens by which istiod reads its
/// configuration, those it may still be using. Once the watcher is in sync, those of other instances go as well that no
/// remote secret there uses: a state that was lost leaves them.
pub async fn retire(order: Order<'_>, keep: Option<&ObjectRef>) -> Result<(), Error> {
    let mut bindings = labelled(order.watched, order.spec.namespace.as_str(), order.owner).await?;
    bindings.retain(|binding| binding.annotation(WATCHER_ANNOTATION) == Some(order.watcher));
    let abandoned = |binding: &Object| order.secrets.is_some() && order.owner.is_taken_over(binding);
    bindings.retain(|binding| order.owner.has(binding, false) || abandoned(binding));
    if let Some(secrets) = order.secrets.filter(|_| bindings.iter().any(abandoned)) {
        let namespace = order.spec.namespace.as_str();
        let used = in_use(&secrets.list_now(&Query::owned(Kind::SECRET, namespace)).await?, namespace);
        bindings.retain(|binding| order.owner.has(binding, false) || !used.contains(binding.name()));
    }
    let doomed = bindings.iter().filter(|binding| match keep {
        Some(kept) if order.spec.is_config_cluster() => !may_be_in_use(&bindings, kept, binding),
        Some(kept) => binding.name() != kept.name,
        None => true,
    });
    for binding in doomed {
        order.watched.delete(&delete(binding)).await?;
    }
    Ok(())
}

/// Names of the Secrets that the tokens in a watcher's remote secrets are bound to, whichever instance wrote these.
pub fn in_use(secrets: &[Object], namespace: &str) -> BTreeSet<String> {
    let here = secrets.iter().filter(|secret| secret.namespace() == Some(namespace));
    here.flat_map(secret::tokens_of).filter_map(|token| Some(token::read(token.reveal()).ok()?.secret?.name)).collect()
}

/// What the refresh saw of tokens that nobody uses: a run that was cut off, or a state that was lost, leaves them, and
/// each lets in whoever has it.
pub struct Leftovers(Vec<Leftover>);

struct Leftover {
    watcher: String,
    binding: Object,
    /// This instance's; else another's of this provider.
    own: bool,
}

impl Leftovers {
    /// Among the Secrets of the watched cluster, those that this provider has made for tokens to be bound to. What
    /// others made with the same label is no token of ours, and no apply would remove it.
    pub fn among(secrets: &[Object], spec: &Spec, owner: &Owner) -> Self {
        let labelled = secrets.iter().filter(|secret| {
            secret.label(OWNER_LABEL) == Some(owner.label.as_str())
                && secret.namespace() == Some(spec.namespace.as_str())
                && !secret.is_terminating()
        });
        let leftover = |secret: &Object| {
            let own = owner.has(secret, false);
            let watcher = secret.annotation(WATCHER_ANNOTATION).filter(|_| own || owner.is_taken_over(secret))?;
            Some(Leftover { watcher: watcher.to_owned(), binding: secret.clone(), own })
        };
        Self(labelled.filter_map(leftover).collect())
    }

    /// Whether the watcher, whose remote secrets use these, has others beside the one that its token is bound to.
    pub fn beside(&self, spec: &Spec, watcher: &str, token: &Token, used: &BTreeSet<String>) -> bool {
        let Some(kept) = binding_of(spec, token) else { return false };
        let bindings: Vec<Object> = self.of(watcher, used).cloned().collect();
        bindings.iter().any(|binding| match spec.is_config_cluster() {
            true => !may_be_in_use(&bindings, &kept, binding),
            false => binding.name() != kept.name,
        })
    }

    /// Whether the watcher, whose remote secrets use these, has any.
    pub fn has(&self, watcher: &str, used: &BTreeSet<String>) -> bool {
        self.of(watcher, used).next().is_some()
    }

    fn of<'a>(&'a self, watcher: &'a str, used: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Object> {
        let of_watcher = self.0.iter().filter(move |leftover| leftover.watcher == watcher);
        let unused = of_watcher.filter(|leftover| leftover.own || !used.contains(leftover.binding.name()));
        unused.map(|leftover| &leftover.binding)
    }

    /// The watchers that have any of this instance's. What remote secrets of others use is not known.
    pub fn watchers(&self) -> BTreeSet<&str> {
        self.0.iter().filter(|leftover| leftover.own).map(|leftover| leftover.watcher.as_str()).collect()
    }
}

/// The Secret that a token is bound to, by what it says.
pub fn binding_of(spec: &Spec, token: &Token) -> Option<ObjectRef> {
    let bound = token::read(token.reveal()).ok()?.secret?;
    Some(ObjectRef::namespaced(Kind::SECRET, spec.namespace.as_str(), bound.name))
}

/// Revokes a token that nobody was given.
pub async fn give_back(order: Order<'_>, binding: Option<&ObjectRef>) -> Result<(), Error> {
    match binding {
        Some(binding) => order.watched.delete(&Delete::new(binding.clone())).await.map(drop),
        None => Ok(()),
    }
}

/// How long istiod may go on with a token that has been replaced in its files: the kubelet brings them within two
/// minutes, client-go reads them again after one.
const IN_USE_FOR: i64 = 600;

/// Whether a token may still be in use after the one bound to `newest` has taken its place: the one before, for nothing
/// tells when istiod has read the new one, and whatever was made shortly before that.
fn may_be_in_use(bindings: &[Object], newest: &ObjectRef, binding: &Object) -> bool {
    let made =
        |binding: &Object| binding.creation_timestamp()?.parse::<jiff::Timestamp>().ok().map(|at| at.as_second());
    let Some(number) = generation(&newest.name) else { return true };
    let since = bindings.iter().find(|binding| binding.name() == newest.name).and_then(made);
    let recent = since.zip(made(binding)).is_none_or(|(since, made)| made >= since.saturating_sub(IN_USE_FOR));
    recent || generation(binding.name()).is_some_and(|generation| generation.saturating_add(1) >= number)
}

/// Revokes the tokens of all watchers.
pub async fn retire_all(watched: &Cluster, namespace: &str, owner: &Owner) -> Result<(), Error> {
    let bindings = listed(watched, namespace, owner).await?;
    let deletions = bindings.iter().map(|binding| async move { watched.delete(&delete(binding)).await.map(drop) });
    futures::future::try_join_all(deletions).await.map(drop)
}

/// This Secret and none that takes its name later.
fn delete(binding: &Object) -> Delete {
    Delete { uid: binding.uid().map(str::to_owned), ..Delete::new(binding.reference_as(Kind::SECRET)) }
}

/// The Secrets that tokens are bound to; the remote secrets that this cluster itself keeps of others carry no such
/// annotation.
async fn listed(watched: &Cluster, namespace: &str, owner: &Owner) -> Result<Vec<Object>, Error> {
    let mut secrets = labelled(watched, namespace, owner).await?;
    secrets.retain(|secret| owner.has(secret, false));
    Ok(secrets)
}

/// The same, whoever made them.
async fn labelled(watched: &Cluster, namespace: &str, owner: &Owner) -> Result<Vec<Object>, Error> {
    let query = Query::of(Kind::SECRET).namespace(namespace).label(OWNER_LABEL, &owner.label).metadata_only();
    let secrets = watched.list_now(&query).await?;
    Ok(secrets.iter().filter(|secret| secret.annotation(WATCHER_ANNOTATION).is_some()).cloned().collect())
}

/// The Secret that a watcher's token is bound to, or that holds one which does not end.
fn binding_object(spec: &Spec, owner: &Owner, watcher: &str, binding: &ObjectRef) -> Object {
    let account = spec.token.long_lived.then(|| spec.reader.service_account.as_str());
    bound_object(account, owner, watcher, binding)
}

/// The same, with the ServiceAccount whose token it holds, if it holds one.
fn bound_object(account: Option<&str>, owner: &Owner, watcher: &str, binding: &ObjectRef) -> Object {
    let object = owner.put_on(Object::of(binding)).with_annotation(WATCHER_ANNOTATION, watcher);
    match account {
        Some(account) => object
            .with_annotation(ACCOUNT_ANNOTATION, account)
            .with("type", json!("kubernetes.io/service-account-token")),
        None => object.with("type", json!("Opaque")),
    }
}

async fn bounded(order: Order<'_>, binding: &Object) -> Result<Token, Error> {
    let lifetime = order.spec.token.lifetime;
    let request = TokenRequest {
        namespace: order.spec.namespace.as_str().to_owned(),
        service_account: order.spec.reader.service_account.as_str().to_owned(),
        audiences: Vec::new(),
        expires_in: lifetime,
        bound_to: Some(BoundTo {
            kind: Kind::SECRET,
            name: binding.name().to_owned(),
            uid: binding.uid().unwrap_or_default().to_owned(),
        }),
    };
    Ok(Token::new(order.watched.request_token(&request).await?.token.expose()))
}

async fn long_lived(watched: &Cluster, binding: &ObjectRef) -> Result<Token, Error> {
    let secret = watched.wait(binding, &wait::secret_has_keys(&["token"])).await?;
    let token = secret.and_then(|secret| String::from_utf8(secret.data("token")?).ok());
    token.map(Token::new).ok_or_else(|| {
        let detail = format!("{binding} has no token");
        let failure = Failure::Unexpected { detail };
        Error { cluster: watched.name().into(), request: None, failure, must_answer: false, repeated: false }
    })
}

/// `istio-mesh-reader.west.3`; a watcher's name that does not fit into an object's name is told apart by its digest.
fn binding_name(spec: &Spec, watcher: &str, generation: u64) -> String {
    let plain = crate::schema::validate::is_dns_label(watcher) && watcher.len() <= 40;
    let watcher = if plain { watcher.to_owned() } else { format!("w-{}", crate::kept::fields::short(watcher)) };
    format!("{}{watcher}.{generation}", bindings(&spec.reader.service_account, &spec.id))
}

fn generation(name: &str) -> Option<u64> {
    name.rsplit('.').next()?.parse().ok()
}

/// What stands in state of a token: never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// RFC 3339; `None` where it never ends.
    pub expires_at: Option<String>,
    pub condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Valid,
    /// None is stored: istiod comes with one of its own.
    Projected,
    /// A job in the watcher renews it, and has done so in time.
    Renewed,
    /// The same, but the job or what it needs is not as it was made.
    Unrenewed,
    /// Valid, and others that the watcher was given before it still hold as well.
    Leftover,
    /// Near its end.
    Rotate,
    Expired,
    /// What it was bound to is gone.
    Revoked,
    /// Of another ServiceAccount, or of the other kind, than the configuration asks for.
    Foreign,
    Unreadable,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Projected => "projected",
            Self::Renewed => "renewed",
            Self::Unrenewed => "unrenewed",
            Self::Leftover => "leftover",
            Self::Rotate => "rotate",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Foreign => "foreign",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a live token is judged by.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// Seconds since 1970.
    pub now: i64,
    pub spec: &'a TokenSpec,
    pub service_account: &'a str,
    /// ServiceAccounts and Secrets of the watched cluster, `None` where it could not be asked.
    pub live: Option<(&'a [Object], &'a [Object])>,
}

/// The standing of a token, from its claims and from what it is bound to.
pub fn standing(token: &Token, judged: Judged<'_>) -> Standing {
    let Ok(claims) = token::read(token.reveal()) else {
        return Standing { expires_at: None, condition: Condition::Unreadable };
    };
    let expires_at = claims.expires.and_then(|end| jiff::Timestamp::from_second(end).ok()).map(|end| end.to_string());
    let condition = condition(&claims, judged);
    // Another end after each run of the job would be a change that nobody made to the configuration.
    Standing { expires_at: expires_at.filter(|_| condition != Condition::Renewed), condition }
}

fn condition(claims: &token::Claims, judged: Judged<'_>) -> Condition {
    if claims.expires.is_some_and(|end| judged.now >= end) {
        return Condition::Expired;
    }
    if claims.service_account.name != judged.service_account || claims.expires.is_none() != judged.spec.long_lived {
        return Condition::Foreign;
    }
    if let Some((accounts, secrets)) = judged.live
        && claims.lost(accounts, secrets).is_some()
    {
        return Condition::Revoked;
    }
    let Some(end) = claims.expires else { return Condition::Valid };
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let granted = end.saturating_sub(claims.issued.unwrap_or(end));
    if judged.spec.renewal.is_some() {
        let late = Schedule::late_at(u64::try_from(granted).unwrap_or_default());
        let is_late = judged.now >= end.saturating_sub(granted).saturating_add(i64::try_from(late).unwrap_or(i64::MAX));
        return if is_late { Condition::Rotate } else { Condition::Renewed };
    }
    let window = seconds(judged.spec.rotate_before);
    // A server that grants less than was asked for, and less than the window, would otherwise see a rotation at every
    // apply.
    let cut = granted > 0 && granted < seconds(judged.spec.lifetime);
    let window = if cut { window.min(granted.saturating_mul(2) / 3) } else { window };
    if judged.now >= end.saturating_sub(window) { Condition::Rotate } else { Condition::Valid }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    use super::super::token_spec::RenewalSpec;
    use super::*;

    const DAY: i64 = 86_400;

    fn bound(issued: i64, expires: i64) -> Token {
        let claims = json!({"exp": expires, "iat": issued, "kubernetes.io": {
            "namespace": "istio-system", "secret": {"name": "r.w.1", "uid": "s-1"}, "serviceaccount": {"name": "reader", "uid": "a-1"}}});
        Token::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    fn live(kind: &str, name: &str, uid: &str) -> Vec<Object> {
        let object: Value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "uid": uid}});
        Object::new(object).into_iter().collect()
    }

    fn judge(token: &Token, now: i64, secret_uid: &str) -> Condition {
        let (accounts, secrets) = (live("ServiceAccount", "reader", "a-1"), live("Secret", "r.w.1", secret_uid));
        let spec = TokenSpec::default();
        standing(token, Judged { now, spec: &spec, service_account: "reader", live: Some((&accounts, &secrets)) })
            .condition
    }

    #[test]
    fn a_token_goes_from_valid_over_its_window_to_expired() {
        let token = bound(0, 90 * DAY);
        assert_eq!(judge(&token, DAY, "s-1"), Condition::Valid);
        assert_eq!(judge(&token, 60 * DAY, "s-1"), Condition::Rotate);
        assert_eq!(judge(&token, 90 * DAY, "s-1"), Condition::Expired);
    }

    #[test]
    fn a_forged_token_of_any_times_is_judged() {
        use Condition::{Expired, Renewed, Rotate, Valid};
        let renewal = TokenSpec { renewal: Some(RenewalSpec::default()), ..TokenSpec::default() };
        let renewed = |token: &Token| {
            let judged = Judged { now: DAY, spec: &renewal, service_account: "reader", live: None };
            standing(token, judged).condition
        };
        for (issued, expires, by_apply, by_job) in [
            (-2, i64::MAX, Valid, Renewed),
            (i64::MAX, i64::MIN, Expired, Expired),
            (i64::MIN, i64::MAX, Valid, Renewed),
            (i64::MAX, i64::MAX, Valid, Renewed),
            (i64::MIN, DAY + 1, Rotate, Rotate),
        ] {
            let token = bound(issued, expires);
            assert_eq!((judge(&token, DAY, "s-1"), renewed(&token)), (by_apply, by_job), "{issued} {expires}");
        }
    }

    #[test]
    fn a_lifetime_cut_by_the_server_narrows_the_window() {
        let token = bound(0, 24 * 3600);
        assert_eq!(judge(&token, 3600, "s-1"), Condition::Valid, "the window of 30 days is cut to 16 of the 24 hours");
        assert_eq!(judge(&token, 8 * 3600, "s-1"), Condition::Rotate);
    }

    #[test]
    fn a_window_that_fits_the_lifetime_granted_is_kept_to() {
        let spec = TokenSpec {
            lifetime: Duration::from_secs(600),
            rotate_before: Duration::from_secs(590),
            ..TokenSpec::default()
        };
        let at = |now| {
            standing(&bound(0, 600), Judged { now, spec: &spec, service_account: "reader", live: None }).condition
        };
        assert_eq!((at(9), at(10)), (Condition::Valid, Condition::Rotate));
    }

    #[test]
    fn a_token_that_a_job_renews_is_late_where_a_run_was_missed() {
        let spec = TokenSpec { renewal: Some(RenewalSpec::default()), ..TokenSpec::default() };
        let at = |hour: i64| {
            let judged = Judged { now: hour * 3600, spec: &spec, service_account: "reader", live: None };
            standing(&bound(0, DAY), judged)
        };
        assert_eq!(at(15), Standing { expires_at: None, condition: Condition::Renewed }, "every eight hours");
        assert_eq!((at(16).condition, at(16).expires_at.as_deref()), (Condition::Rotate, Some("1970-01-02T00:00:00Z")));
        assert_eq!(at(24).condition, Condition::Expired);
    }

    #[test]
    fn istiod_may_still_use_the_token_before_and_what_was_made_shortly_before_it() {
        let created = |number: u64, created: &str| {
            let name = format!("istiod.west.hub.{number}");
            let metadata = json!({"name": name, "namespace": "istio-system", "creationTimestamp": created});
            Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).unwrap()
        };
        let binding = |number, minute: u32| created(number, &format!("2026-01-01T00:{minute:02}:00Z"));
        let bindings = [binding(1, 0), binding(2, 5), binding(3, 20), binding(4, 21), binding(5, 22)];
        let stay = |newest: usize| -> Vec<usize> {
            let kept = bindings[newest].reference_as(Kind::SECRET);
            (0..=newest).filter(|at| may_be_in_use(&bindings, &kept, &bindings[*at])).collect()
        };
        assert_eq!(stay(2), [1, 2], "the one before, however old");
        assert_eq!(stay(4), [2, 3, 4], "three in two minutes");
        // Anybody may name a Secret so, and a clock may say anything.
        let last = created(u64::MAX, "9999-12-30T22:00:00Z");
        let first = created(u64::MAX - 1, "-009999-01-02T01:59:59Z");
        let both = [last.clone(), first.clone()];
        assert!(may_be_in_use(&both, &first.reference_as(Kind::SECRET), &last));
        assert!(may_be_in_use(&both, &last.reference_as(Kind::SECRET), &first));
    }

    #[test]
    fn a_secret_made_anew_does_not_revive_a_token() {
        assert_eq!(judge(&bound(0, 90 * DAY), DAY, "s-2"), Condition::Revoked);
    }

    #[test]
    fn another_service_account_s_token_is_foreign() {
        let spec = TokenSpec::default();
        let judged = Judged { now: DAY, spec: &spec, service_account: "other", live: None };
        assert_eq!(standing(&bound(0, 90 * DAY), judged).condition, Condition::Foreign);
        let judged = Judged { now: DAY, spec: &spec, service_account: "reader", live: None };
        assert_eq!(standing(&bound(0, 90 * DAY), judged).condition, Condition::Valid);
        assert_eq!(standing(&Token::new("opaque"), judged).condition, Condition::Unreadable);
    }

    /// What a run that was cut off leaves: tokens that still let their holder in, of a watcher that has a newer one,
    /// and of one that is none any more.
    #[test]
    fn tokens_that_nobody_uses_are_found() {
        let model = super::super::model::RemoteCluster {
            cluster: "w".into(),
            namespace: "istio-system".into(),
            mode: "peer".into(),
            watchers: crate::value::Value::Known(["east"].map(crate::value::Value::from).into_iter().collect()),
            service_account: "reader".into(),
            allow_loopback_server: false.into(),
            ..Default::default()
        };
        let spec = Spec::parse(&model).unwrap().unwrap();
        let owner = Owner { label: spec.owner(), mark: "m1".into(), unmarked: false };
        let binding = |name: &str, watcher: &str, mark: &str, manager: &str| {
            let mark_of = crate::cluster::INSTANCE_ANNOTATION;
            let fields = json!({"f:metadata": {"f:annotations": {format!("f:{mark_of}"): {}}}});
            let object: Value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {
                "name": name, "namespace": "istio-system", "labels": {OWNER_LABEL: &owner.label},
                "annotations": {WATCHER_ANNOTATION: watcher, mark_of: mark},
                "managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]}});
            Object::new(object).unwrap()
        };
        let ours = crate::cluster::FIELD_MANAGER;
        let (used, old) = (binding("r.w.1", "east", "m1", ours), binding("r.w.0", "east", "m1", ours));
        let (gone, planted) = (binding("r.n.1", "north", "m1", ours), binding("r.x.1", "east", "m1", "kubectl"));
        let (lost, theirs) = (binding("r.w.2", "east", "m0", ours), binding("r.n.2", "south", "m0", ours));
        let token = bound(0, 90 * DAY);
        let nothing = BTreeSet::new();
        let among = |secrets: &[&Object]| {
            Leftovers::among(&secrets.iter().map(|secret| (*secret).clone()).collect::<Vec<_>>(), &spec, &owner)
        };
        assert!(!among(&[&used, &planted]).beside(&spec, "east", &token, &nothing), "anybody's Secret is no token");
        assert!(among(&[&used, &lost]).beside(&spec, "east", &token, &nothing), "of a state that was lost");
        let in_use = BTreeSet::from(["r.w.2".to_owned()]);
        assert!(!among(&[&used, &lost]).beside(&spec, "east", &token, &in_use), "of a state that goes on");
        let left = among(&[&used, &old, &gone, &theirs]);
        assert!(left.beside(&spec, "east", &token, &nothing));
        assert_eq!(left.watchers().into_iter().collect::<Vec<_>>(), ["east", "north"]);
    }
}
