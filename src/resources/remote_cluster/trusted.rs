//! Links without a stored token: before a remote secret is written, the watched API server is asked, with a token such
//! as the watcher's istiod has, who that is.

use std::time::{Duration, Instant};

use super::link_token::LinkTokenSpec;
use super::watcher::{Link, failed};
use crate::cluster::{Layer, Object, Secret, TokenRequest};
use crate::diag::Diagnostic;
use crate::istiod;
use crate::mesh::{LinkTokens, Token, TrustedIssuer};
use crate::resources::token;

/// The least that an API server grants: the token is used at once and forgotten.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long an API server that has just been told of an issuer may take to fetch its keys.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(1);

/// Makes sure of every istiod of the watcher. A token by which one of them can be tried from here.
pub async fn prove(link: Link<'_>, own: &LinkTokenSpec) -> Result<Token, Diagnostic> {
    let namespace = link.spec.namespace.as_str();
    let deployments = link.watcher.list_now(&istiod::deployments(namespace)).await;
    let deployments = deployments.map_err(|error| failed(link, &error))?;
    let mut proved = None;
    for deployment in deployments.iter() {
        let given = LinkTokens::of(deployment.value());
        if !given.is_some_and(|tokens| tokens.audiences.contains(&own.audience)) {
            return Err(without_token(link, own, deployment));
        }
        let account = match deployment.str("spec.template.spec.serviceAccountName") {
            "" => "default",
            account => account,
        };
        let shares = deployments.len() > 1;
        proved = Some(tried(link, own, Istiod { account, shares }).await?);
    }
    proved.ok_or_else(|| {
        Diagnostic::error("The watcher has no istiod").at("watchers").detail(format!(
            "No istiod runs in namespace {namespace} of cluster {}. Refer to its `mesh_primary` in `watchers`, so that the control plane is there first.",
            link.watcher.name()
        ))
    })
}

/// One of the istiods of a watcher.
#[derive(Clone, Copy)]
struct Istiod<'a> {
    account: &'a str,
    /// There are others, for which the one user name of the watcher must do as well.
    shares: bool,
}

/// The watched API server's word on a token of the account.
async fn tried(link: Link<'_>, own: &LinkTokenSpec, istiod: Istiod<'_>) -> Result<Token, Diagnostic> {
    let account = istiod.account;
    let request = TokenRequest {
        namespace: link.spec.namespace.as_str().to_owned(),
        service_account: account.to_owned(),
        audiences: vec![own.audience.as_str().to_owned()],
        expires_in: LIFETIME,
        bound_to: None,
    };
    let issued = link.watcher.request_token(&request).await.map_err(|error| failed(link, &error))?;
    let token = Token::new(issued.token.expose());
    let user = own.users.get(link.watcher.name()).map(String::as_str).unwrap_or_default();
    let begun = Instant::now();
    loop {
        match link.watched.with_token(Secret::new(token.reveal())).whoami().await {
            Ok(identity) if identity.username.is_empty() || identity.username == user => return Ok(token),
            Ok(identity) => return Err(another_name(link, user, &identity.username, istiod.shares)),
            Err(error) if error.layer() != Layer::Authentication => return Err(failed(link, &error)),
            Err(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(_) => return Err(untrusted(link, own, (account, user), &token)),
        }
    }
}

fn without_token(link: Link<'_>, own: &LinkTokenSpec, deployment: &Object) -> Diagnostic {
    let (watcher, name, audience) = (link.watcher.name(), deployment.name(), own.audience.as_str());
    Diagnostic::error("An istiod has no token for this link").at("link_token").detail(format!(
        "Deployment {}/{name} in cluster {watcher} gives istiod no token of the audience {audience}, so it could not log in to {}. Nothing was written to {watcher}. Set `link_token = {{ audiences = \
         [\"{audience}\"] }}` on the `mesh_primary` of every control plane in {watcher}, and refer to it in `watchers`, so that it is applied first.",
        link.spec.namespace,
        link.spec.id,
    ))
}

fn another_name(link: Link<'_>, expected: &str, found: &str, shares: bool) -> Diagnostic {
    let (watched, watcher) = (link.watched.name(), link.watcher.name());
    Diagnostic::error("The API server knows the istiod by another name").at("link_token").detail(format!(
        "The API server of cluster {watched} trusts the token of the istiod of {watcher}, and calls it {found:?}. The reader's rights are bound to {expected:?}, so istiod could read nothing. Nothing was written to \
         {watcher}. {}",
        name_alike(watcher, found, shares)
    ))
}

/// What to do. Istiods of several revisions have ServiceAccounts of their own, and `users` has one name for all.
fn name_alike(watcher: &str, found: &str, shares: bool) -> String {
    match shares {
        false => format!(
            "Either set `users = {{ {watcher} = {found:?} }}` in `link_token`, or change `claimMappings.username` in the API server's configuration."
        ),
        true => format!(
            "{watcher} has several istiods, each with a ServiceAccount of its own. Have `claimMappings.username.expression` in the API server's configuration give all of them one name, and set `users` for \
             {watcher} in `link_token` to it."
        ),
    }
}

fn untrusted(link: Link<'_>, own: &LinkTokenSpec, (account, user): (&str, &str), token: &Token) -> Diagnostic {
    let (watched, watcher, namespace) = (link.watched.name(), link.watcher.name(), &link.spec.namespace);
    let issuer = token::issuer(token.reveal()).unwrap_or_else(|| format!("<the issuer of {watcher}>"));
    let subject = format!("system:serviceaccount:{namespace}:{account}");
    let trusted = TrustedIssuer { issuer: &issuer, audience: &own.audience, subject: &subject, user };
    Diagnostic::error("The API server does not trust the watcher's tokens").at("link_token").detail(format!(
        "The API server of cluster {watched} refuses a token of the ServiceAccount {namespace}/{account} of cluster {watcher}, by which its istiod would log in. Nothing was written to {watcher}. Choose one of these:\n\
         - Let the API server trust the issuer. It must find in the file of its flag `--authentication-config` what follows (before Kubernetes 1.34 the version is `v1beta1`); where other issuers are in the file, add the element of `jwt`. If the issuer's certificate is not of a \
         public authority, add `certificateAuthority` to `issuer`. Managed clouds have settings for an identity provider in its place.\n\
         - Leave `link_token` out: `token` then makes a token for each watcher.\n\n{}",
        trusted.configuration()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_istiods_need_one_name_and_no_single_one_s() {
        let alone = name_alike("west", "west:a", false);
        assert!(alone.contains("`users = { west = \"west:a\" }`"), "{alone}");
        let several = name_alike("west", "west:a", true);
        assert!(several.contains("claimMappings.username.expression") && !several.contains("west:a"), "{several}");
    }
}
