//! Questions about identities: tokens for service accounts, who am I, may I.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::Call;
use super::{Cluster, Error, Failure, Kind, ObjectRef, Secret};

/// A bounded token for a service account.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub namespace: String,
    pub service_account: String,
    /// Empty: the API server's own audience.
    pub audiences: Vec<String>,
    pub expires_in: Duration,
    /// The object whose deletion revokes the token.
    pub bound_to: Option<BoundTo>,
}

/// The object a token is bound to, in the namespace of the ServiceAccount: a Secret or a Pod.
#[derive(Clone, Debug)]
pub struct BoundTo {
    pub kind: Kind,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub token: Secret,
    /// What the server granted: it may be shorter or longer than asked.
    pub expires_at: Timestamp,
}

/// Who the API server takes us for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
}

/// One right to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessAnswer {
    pub allowed: bool,
    pub reason: String,
}

impl Cluster {
    pub async fn request_token(&self, request: &TokenRequest) -> Result<Token, Error> {
        let account = ObjectRef::namespaced(Kind::SERVICE_ACCOUNT, &request.namespace, &request.service_account);
        let mut spec = json!({ "expirationSeconds": request.expires_in.as_secs() });
        if !request.audiences.is_empty() {
            spec["audiences"] = json!(request.audiences);
        }
        if let Some(BoundTo { kind, name, uid }) = &request.bound_to {
            spec["boundObjectRef"] =
                json!({ "apiVersion": kind.api_version(), "kind": kind.kind, "name": name, "uid": uid });
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let answer = self.review(&format!("{}/token", account.path()), &body).await?;
        let text = |key: &str| answer.get("status").and_then(|status| status.get(key)).and_then(Value::as_str);
        let incomplete =
            || self.error(Failure::Unexpected { detail: format!("the TokenRequest for {account} gives no token") });
        let token = text("token").ok_or_else(incomplete)?;
        let expires_at = text("expirationTimestamp").and_then(|text| text.parse().ok()).ok_or_else(incomplete)?;
        Ok(Token { token: Secret::new(token), expires_at })
    }

    /// SelfSubjectReview; on a server too old for it (before 1.28) the answer to a SelfSubjectAccessReview proves the
    /// credential, without a name.
    pub async fn whoami(&self) -> Result<User, Error> {
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let answer = match self.review("/apis/authentication.k8s.io/v1/selfsubjectreviews", &body).await {
            Err(error) if error.is_not_found() => {
                self.may(&Access { verb: "get".into(), resource: "namespaces".into(), ..Access::default() }).await?;
                return Ok(User::default());
            }
            answer => answer?,
        };
        let user = answer.get("status").and_then(|status| status.get("userInfo")).cloned().unwrap_or_default();
        let text = |key: &str| user.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let groups = user.get("groups").and_then(Value::as_array).into_iter().flatten();
        let groups = groups.filter_map(|group| group.as_str().map(str::to_owned)).collect();
        Ok(User { username: text("username"), uid: text("uid"), groups })
    }

    /// SelfSubjectAccessReview: whether this credential has a right.
    pub async fn may(&self, access: &Access) -> Result<AccessAnswer, Error> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": access.verb, "group": access.group, "resource": access.resource, "subresource": access.subresource,
                "namespace": access.namespace, "name": access.name,
            }},
        });
        let answer = self.review("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &body).await?;
        let status = answer.get("status").cloned().unwrap_or_default();
        let allowed = status.get("allowed").and_then(Value::as_bool).unwrap_or(false);
        let reason = status.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(AccessAnswer { allowed, reason })
    }

    /// Reviews are posted and nothing is stored: sending one twice does no harm.
    async fn review(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
        self.kind_json(Call { repeatable: true, ..Call::post(path, body) }, kind).await
    }
}
