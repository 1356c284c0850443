//! What a service account token says about itself: read from its claims, never verified here (the API server that
//! issued it does that) and never kept. Nothing in this file may hold on to a token or print one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::cluster::Object;

/// The claims of a service account token that say until when, and through which objects, it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Seconds since 1970; `None` for a long-lived token, which never expires.
    pub expires: Option<i64>,
    pub issued: Option<i64>,
    pub namespace: String,
    pub service_account: Reference,
    /// The Secret the token is bound to: once that is gone, the API server refuses the token.
    pub secret: Option<Reference>,
}

/// An object as a token names it: a deleted and recreated object has another uid, and the token is dead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reference {
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

/// What a token needs and its cluster has no longer, or has anew under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    Account(String),
    Secret(String),
}

impl Claims {
    /// Why the API server refuses the token whatever its end: by the ServiceAccounts and Secrets of its namespace.
    pub fn lost(&self, accounts: &[Object], secrets: &[Object]) -> Option<Lost> {
        self.lost_account(accounts).or_else(|| self.lost_secret(secrets))
    }

    pub fn lost_account(&self, accounts: &[Object]) -> Option<Lost> {
        let account = &self.service_account;
        let is_lost = !account.uid.is_empty() && !account.lives_in(accounts);
        is_lost.then(|| Lost::Account(account.name.clone()))
    }

    pub fn lost_secret(&self, secrets: &[Object]) -> Option<Lost> {
        let secret = self.secret.as_ref().filter(|secret| !secret.lives_in(secrets))?;
        Some(Lost::Secret(secret.name.clone()))
    }
}

impl Reference {
    fn lives_in(&self, objects: &[Object]) -> bool {
        let mut named = objects.iter().filter(|object| object.name() == self.name);
        named.any(|object| self.uid.is_empty() || object.uid() == Some(self.uid.as_str()))
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the token is not a JSON web token")]
    NotJwt,
    #[error("the token's claims cannot be read")]
    Claims,
    #[error("the token is not one of a Kubernetes service account")]
    NotServiceAccount,
}

/// Reads the claims of `token`. The error says nothing of the token's content.
pub fn read(token: &str) -> Result<Claims, Error> {
    let mut parts = token.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Error::NotJwt);
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|_| Error::NotJwt)?;
    let raw: RawClaims = serde_json::from_slice(&payload).map_err(|_| Error::Claims)?;
    match raw {
        RawClaims { kubernetes: Some(bound), exp, iat, .. } => Ok(Claims {
            expires: exp,
            issued: iat,
            namespace: bound.namespace,
            service_account: bound.serviceaccount,
            secret: bound.secret,
        }),
        RawClaims {
            legacy_namespace: Some(namespace),
            legacy_name: Some(name),
            legacy_uid,
            legacy_secret,
            exp,
            iat,
            ..
        } => Ok(Claims {
            expires: exp,
            issued: iat,
            namespace,
            service_account: Reference { name, uid: legacy_uid.unwrap_or_default() },
            secret: legacy_secret.map(|name| Reference { name, uid: String::new() }),
        }),
        _ => Err(Error::NotServiceAccount),
    }
}

/// Who has issued the token, as it says.
pub fn issuer(token: &str) -> Option<String> {
    claim(token, "iss")?.as_str().map(str::to_owned)
}

/// When a token of whatever kind ends, in seconds since 1970.
pub fn end(token: &str) -> Option<i64> {
    claim(token, "exp")?.as_i64()
}

fn claim(token: &str, name: &str) -> Option<serde_json::Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get_mut(name).map(serde_json::Value::take)
}

#[derive(Deserialize)]
struct RawClaims {
    exp: Option<i64>,
    iat: Option<i64>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Bound>,
    // The shape of tokens that live in a Secret of type kubernetes.io/service-account-token.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    legacy_namespace: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    legacy_name: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    legacy_uid: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    legacy_secret: Option<String>,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Reference,
    secret: Option<Reference>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: serde_json::Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn bound_token_names_its_secret_and_expiry() {
        let claims = read(&token(json!({
            "exp": 1_800_000_000, "iat": 1_790_000_000,
            "kubernetes.io": {
                "namespace": "istio-system",
                "secret": { "name": "reader-west", "uid": "u-2" },
                "serviceaccount": { "name": "reader", "uid": "u-1" },
            },
        })))
        .unwrap();
        assert_eq!(claims.expires, Some(1_800_000_000));
        assert_eq!(claims.secret, Some(Reference { name: "reader-west".into(), uid: "u-2".into() }));
        assert_eq!(claims.service_account.uid, "u-1");
    }

    #[test]
    fn long_lived_token_never_expires() {
        let claims = read(&token(json!({
            "kubernetes.io/serviceaccount/namespace": "istio-system",
            "kubernetes.io/serviceaccount/secret.name": "istio-reader-service-account-istio-remote-secret-token",
            "kubernetes.io/serviceaccount/service-account.name": "istio-reader-service-account",
            "kubernetes.io/serviceaccount/service-account.uid": "u-1",
        })))
        .unwrap();
        assert_eq!(claims.expires, None);
        assert_eq!(claims.service_account.name, "istio-reader-service-account");
    }

    #[test]
    fn the_issuer_is_told() {
        assert_eq!(issuer(&token(json!({ "iss": "https://a" }))).as_deref(), Some("https://a"));
        assert_eq!(issuer("opaque-bootstrap-token"), None);
    }

    #[test]
    fn foreign_tokens_are_refused_without_being_quoted() {
        assert_eq!(read("opaque-bootstrap-token"), Err(Error::NotJwt));
        assert_eq!(read("a.b"), Err(Error::NotJwt));
        assert_eq!(read("e30.!!!.x"), Err(Error::NotJwt));
        assert_eq!(read(&token(json!({ "sub": "someone" }))), Err(Error::NotServiceAccount));
        assert_eq!(read(&token(json!("text"))), Err(Error::Claims));
    }
}
