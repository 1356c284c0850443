//! What can go wrong between here and a cluster, and which layer it was.
//!
//! Every error names the cluster. Nothing in it holds a credential: texts come from the far end's answers, from file
//! names, and from the standard error of an exec plugin, never from its standard output.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::advice::{BEING_TERMINATED, SAYS_WHY, refused_by};
use super::answer;
use super::object::ObjectRef;
use super::secrets::Secrets;

/// A failure, the cluster it happened in and, where there was one, the request.
#[derive(Clone, Debug, Error)]
#[error("cluster {cluster}: {failure}")]
pub struct Error {
    pub cluster: Box<str>,
    /// Method and path, for logs; messages name objects instead.
    pub request: Option<Box<str>>,
    pub failure: Failure,
    /// The provider block asks that no refresh go on without this cluster.
    pub must_answer: bool,
    /// The request was sent before, and that may have come through: its answer was lost.
    pub repeated: bool,
}

/// What failed. The variants from `Config` to `Forbidden` are in the order in which a request passes the layers.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    #[error("not among the provider's clusters ({})", if .known.is_empty() { "there is none".to_owned() } else { .known.join(", ") })]
    UnknownCluster { known: Vec<String> },

    #[error("the connection configuration is not usable: {detail}")]
    Config { detail: String },

    /// Values of the provider block come from what the run is still to make.
    #[error(
        "the connection configuration is not known yet: some of its values come from what this run is still to make"
    )]
    NotKnown,

    #[error("cannot read the kubeconfig {path}: {detail}")]
    ConfigFile {
        path: String,
        detail: String,
        /// There is no such file, as before the run that makes the cluster and writes it.
        missing: bool,
    },

    #[error("the exec plugin {command} {detail}")]
    Exec { command: String, detail: String, install_hint: Option<String> },

    #[error("cannot obtain a credential: {detail}")]
    Credential { detail: String },

    #[error("cannot resolve {host}: {detail}")]
    Resolve { host: String, detail: String },

    #[error("cannot connect to {address}: {detail}")]
    Connect { address: String, detail: String },

    #[error("the proxy {proxy} does not connect to {address}: {detail}")]
    Proxy { proxy: String, address: String, detail: String },

    #[error("TLS with {address} fails: {detail}")]
    Tls { address: String, detail: String },

    #[error("the connection to {address} broke: {detail}")]
    Broken { address: String, detail: String },

    #[error("the API server does not accept the credential ({source_of_credential}): {message}")]
    Unauthorized { source_of_credential: String, message: String },

    #[error("{message}")]
    Forbidden { message: String },

    /// The API server refused for another reason; `NotFound` among them only where the caller had a right to expect the
    /// object.
    #[error("{}", .0.message)]
    Api(Box<Status>),

    #[error("{0}")]
    Conflict(Box<Conflict>),

    #[error("{0}")]
    Foreign(Box<Foreign>),

    #[error("the cluster serves no kind {kind} in {api_version}")]
    UnknownKind { api_version: String, kind: String },

    #[error("{0}")]
    Timeout(Timeout),

    #[error("cancelled while {doing}")]
    Cancelled { doing: String },

    #[error("what answers at {address} is no Kubernetes API server: {detail}")]
    NotKubernetes { address: String, detail: String },

    #[error("the answer is not what the API promises: {detail}")]
    Unexpected { detail: String },
}

impl Failure {
    /// Whether the API server may have done what was asked, though it did not say so.
    pub(super) fn may_have_come_through(&self) -> bool {
        matches!(self, Failure::Broken { .. }) || matches!(self, Failure::Api(status) if status.code >= 500)
    }
}

/// Where on the way to the answer a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The provider block or the kubeconfig.
    Configuration,
    /// The exec plugin or another source of credentials.
    Credential,
    Dns,
    Tcp,
    Proxy,
    Tls,
    /// 401.
    Authentication,
    /// 403.
    Authorization,
    /// The API server answered, and refused.
    Api,
    /// The API server did what was asked, and the cluster did not get there in time, or was not let to.
    Progress,
}

impl Error {
    pub(super) fn new(cluster: &str, failure: Failure) -> Error {
        Error { cluster: cluster.into(), request: None, failure, must_answer: false, repeated: false }
    }

    pub fn layer(&self) -> Layer {
        match &self.failure {
            Failure::UnknownCluster { .. }
            | Failure::Config { .. }
            | Failure::NotKnown
            | Failure::ConfigFile { .. } => Layer::Configuration,
            Failure::Exec { .. } | Failure::Credential { .. } => Layer::Credential,
            Failure::Resolve { .. } => Layer::Dns,
            Failure::Connect { .. } | Failure::Broken { .. } => Layer::Tcp,
            Failure::Proxy { .. } => Layer::Proxy,
            Failure::Tls { .. } => Layer::Tls,
            Failure::Unauthorized { .. } => Layer::Authentication,
            Failure::Forbidden { .. } => Layer::Authorization,
            Failure::Api(_)
            | Failure::Conflict(_)
            | Failure::Foreign(_)
            | Failure::UnknownKind { .. }
            | Failure::NotKubernetes { .. }
            | Failure::Unexpected { .. } => Layer::Api,
            Failure::Timeout(_) | Failure::Cancelled { .. } => Layer::Progress,
        }
    }

    /// The cluster did not answer, as opposed to refusing: it is down, not there yet, or not reachable from here.
    ///
    /// A plan goes on without the cluster on these, and on nothing else.
    pub fn is_unreachable(&self) -> bool {
        match &self.failure {
            Failure::Api(status) => status.is_of_a_front(),
            Failure::Timeout(timeout) => timeout.unanswered,
            _ => matches!(self.layer(), Layer::Dns | Layer::Tcp | Layer::Proxy),
        }
    }

    /// Others wrote the object since it was read.
    pub fn is_overtaken(&self) -> bool {
        matches!(&self.failure, Failure::Api(status) if status.code == 409 && status.reason == "Conflict")
    }

    /// A refresh goes on without the cluster, with a warning: it gave no answer, or is not known before apply; and
    /// nobody asked that it answer.
    pub fn may_be_missed(&self) -> bool {
        !self.must_answer && (self.is_unreachable() || self.is_not_known())
    }

    /// The configuration is not known before apply: the one thing about it that a refresh goes on without. What is
    /// wrong is an error, and so is a file that has gone, since state holds objects of the cluster: a plan that says
    /// "No changes" would hide them.
    pub fn is_not_known(&self) -> bool {
        matches!(self.failure, Failure::NotKnown)
    }

    /// Not known, or its kubeconfig is not there, as before the run that makes the cluster and writes it. For what
    /// state holds nothing of.
    pub fn is_not_configured(&self) -> bool {
        matches!(self.failure, Failure::NotKnown | Failure::ConfigFile { missing: true, .. })
    }

    /// For all that can be told from here, the cluster may be gone for good. Whoever knows that it is may leave it as
    /// it is.
    pub fn may_be_gone(&self) -> bool {
        self.is_unreachable() || self.is_not_configured()
    }

    /// What was asked may be done, though no answer said so.
    pub fn may_have_come_through(&self) -> bool {
        self.repeated || !self.is_answer() || self.failure.may_have_come_through()
    }

    /// The cluster answered, be it to refuse; before that nothing is known of it.
    pub fn is_answer(&self) -> bool {
        match &self.failure {
            Failure::Api(status) => !status.is_of_a_front(),
            Failure::NotKubernetes { .. } | Failure::Unexpected { .. } => false,
            _ => matches!(self.layer(), Layer::Authentication | Layer::Authorization | Layer::Api),
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(&self.failure, Failure::Api(status) if status.code == 404)
    }

    /// The cluster does not serve the kind: its CustomResourceDefinition is not installed.
    pub fn is_unknown_kind(&self) -> bool {
        matches!(self.failure, Failure::UnknownKind { .. })
    }

    /// 409 without a field that another manager holds: the object is there already, or others wrote it at the same
    /// time.
    pub fn is_contention(&self) -> bool {
        matches!(&self.failure, Failure::Api(status) if status.code == 409)
    }

    /// Nothing can be created there: somebody deletes the namespace.
    pub fn is_of_a_namespace_that_goes(&self) -> bool {
        self.is_forbidden() && self.to_string().contains(BEING_TERMINATED)
    }

    pub fn is_forbidden(&self) -> bool {
        matches!(self.failure, Failure::Forbidden { .. })
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self.failure, Failure::Cancelled { .. })
    }

    pub fn conflict(&self) -> Option<&Conflict> {
        match &self.failure {
            Failure::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }

    /// What the user can do about it, as sentences for the detail of a diagnostic.
    pub fn remedy(&self) -> String {
        match &self.failure {
            Failure::UnknownCluster { .. } => "Add the cluster to `clusters` of the provider block.".into(),
            Failure::Config { .. } => "Correct the cluster's entry in `clusters` of the provider block, or the kubeconfig that it names.".into(),
            Failure::NotKnown => "Apply what the values come from first, or plan again when they are known.".into(),
            Failure::ConfigFile { missing: true, .. } => "Check `config_path` of the cluster's entry in the provider block; the file is read when the cluster is first used. A refresh continues without the file only while state holds nothing of the cluster. If the cluster is gone for good, destroy with `-refresh=false`.".into(),
            Failure::ConfigFile { .. } => "Correct the file, or `config_path` of the cluster's entry in the provider block.".into(),
            Failure::Exec { install_hint: Some(hint), .. } => hint.clone(),
            Failure::Exec { .. } => "Run the command by hand to see why; it runs without a terminal here.".into(),
            Failure::Credential { .. } => "Check the user entry of the kubeconfig.".into(),
            Failure::Resolve { .. } => "Check the server's host name, and that this machine's resolver knows it.".into(),
            Failure::Connect { .. } => "Check that the API server runs and that this machine can reach it (firewall, VPN, proxy).".into(),
            Failure::Proxy { .. } => "Check `proxy_url` or the HTTPS_PROXY and NO_PROXY variables.".into(),
            Failure::Tls { .. } => "Check the certificate authority and `tls_server_name` for this server, and that the client certificate is valid.".into(),
            Failure::Broken { .. } => "The request was sent again as often as the time allowed. Check what is between this machine and the API server.".into(),
            Failure::Unauthorized { message, .. } if message.contains("expired") => "The credential has expired: renew it.".into(),
            Failure::Unauthorized { .. } => "The credential is wrong, expired or revoked: renew it.".into(),
            Failure::Forbidden { message } => refused_by(message).unwrap_or(SAYS_WHY).into(),
            Failure::NotKubernetes { .. } => "Check the server's address and path, and whether a proxy, a load balancer or a login page in front of it answers instead.".into(),
            Failure::Conflict(_) => "Stop the other manager from setting the field, set the same value in the configuration, or set `force_conflicts = true` to overwrite it.".into(),
            Failure::Foreign(_) => "If it is part of what another tool or another state installed, import this resource. If nobody needs it, delete it. To take it over, set `adopt = true`.".into(),
            Failure::UnknownKind { .. } => "If its CustomResourceDefinition is not installed, install it. If it is, the API server does not serve it at the moment: try again.".into(),
            Failure::Timeout(_) => "Remove what holds it back, or raise the value in `timeouts`.".into(),
            Failure::Api(status) if refused_by(&status.message).is_some() => refused_by(&status.message).unwrap_or_default().into(),
            Failure::Api(status) if status.refuses_content() => "The object does not fit its kind's schema: correct the values or the chart that it is made from.".into(),
            Failure::Api(status) if status.code == 429 || status.code >= 500 => "The API server was asked again as often as the time allowed: look at its health.".into(),
            Failure::Api(status) if status.code == 409 && status.reason == "Conflict" => "Others kept writing this object at the same time: apply again, and if it stays so, look for controllers that undo each other's changes.".into(),
            Failure::Api(_) => String::new(),
            Failure::Cancelled { .. } => "The run was stopped, or the Lease of the resource is not this run's any more: plan and apply again.".into(),
            Failure::Unexpected { .. } => "If others have written the object, or something else than Kubernetes answers there, correct that. Otherwise, if this is a supported Kubernetes version, it is a defect of the provider: please report it.".into(),
        }
    }
}

/// The API server's `Status` of a refused request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: String,
    pub message: String,
    /// The object the answer is about; none where the path itself is unknown to the server.
    pub name: Option<String>,
    pub causes: Vec<Cause>,
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl Status {
    /// The API server answers an apply that does not fit the kind's schema with 500, though asking again cannot help.
    pub(super) fn refuses_content(&self) -> bool {
        self.code == 500 && self.message.starts_with("failed to create typed patch object")
    }

    /// An admission webhook or policy has refused it, with a status code of its own choice.
    pub(super) fn is_of_admission(&self) -> bool {
        self.message.starts_with("admission webhook ") && self.message.contains("denied the request")
    }

    /// A `test` of a JSON patch did not hold, or another write came first. Of a test that fails the API server names no
    /// object; of what is not valid, and of what a policy refuses, it does.
    pub(super) fn is_of_a_test(&self) -> bool {
        let names_none = self.name.as_deref().is_none_or(str::is_empty);
        (self.code == 409 || self.code == 422 && names_none) && !self.is_of_admission()
    }

    /// What stands in front of an API server that is down answers so: 502 to 504, and Cloudflare 520 to 530.
    pub(super) fn is_of_a_front(&self) -> bool {
        matches!(self.code, 502..=504 | 520..=530)
    }

    /// A 404 that speaks of this very object.
    pub(super) fn is_absence_of(&self, name: &str) -> bool {
        self.code == 404 && self.name.as_deref() == Some(name)
    }

    /// Reads an error answer; what is no `Status` (a proxy's page, say) is quoted, shortened. The secrets in use are
    /// struck from what it says, before anything is cut.
    pub(super) fn parse(code: u16, body: &[u8], secrets: &Secrets) -> Status {
        let value: Value = answer::read(body).unwrap_or_default();
        if value.get("kind").and_then(Value::as_str) != Some("Status") {
            let text = secrets.in_short(body, 200);
            let message =
                if text.is_empty() { format!("HTTP status {code}") } else { format!("HTTP status {code}: {text}") };
            return Status { code, message, ..Status::default() };
        }
        let text =
            |value: &Value, key: &str| secrets.struck_from(value.get(key).and_then(Value::as_str).unwrap_or_default());
        let details = value.get("details").cloned().unwrap_or_default();
        let causes = details.get("causes").and_then(Value::as_array).into_iter().flatten();
        Status {
            code,
            reason: text(&value, "reason"),
            message: text(&value, "message"),
            name: details.get("name").and_then(Value::as_str).map(str::to_owned),
            causes: causes
                .map(|cause| Cause {
                    reason: text(cause, "reason"),
                    message: text(cause, "message"),
                    field: text(cause, "field"),
                })
                .collect(),
            retry_after: details.get("retryAfterSeconds").and_then(Value::as_u64).map(Duration::from_secs),
        }
    }
}

/// Server-side apply found fields that others manage with other values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub object: ObjectRef,
    pub fields: Vec<ConflictingField>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictingField {
    /// `spec.replicas`
    pub field: String,
    pub manager: String,
    /// How the manager says it wrote, if it does: `Update`, `Apply`; a subresource after a slash.
    pub operation: Option<String>,
}

impl Conflict {
    /// Reads the causes of a 409 answer to an apply; `None` where it is another kind of conflict.
    pub(super) fn parse(object: &ObjectRef, status: &Status) -> Option<Conflict> {
        let causes = status.causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
        let fields: Vec<ConflictingField> = causes
            .map(|cause| {
                // conflict with "kubectl" using apps/v1, or: conflict with "kubectl" with subresource "scale" using
                // apps/v1 at …
                let mut quoted = cause.message.split('"');
                let manager = quoted.nth(1).unwrap_or("unknown").to_owned();
                let subresource = cause.message.contains("with subresource").then(|| quoted.nth(1).unwrap_or_default());
                ConflictingField {
                    field: cause.field.trim_start_matches('.').to_owned(),
                    manager,
                    operation: subresource.map(|subresource| format!("subresource {subresource}")),
                }
            })
            .collect();
        (!fields.is_empty()).then(|| Conflict { object: object.clone(), fields })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has fields that others manage:", self.object)?;
        for (index, field) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator} {} ({})", field.field, field.manager)?;
        }
        Ok(())
    }
}

/// The object exists and is someone else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub object: ObjectRef,
    /// Who manages it: the owner label's value, Helm's release, or the field managers.
    pub owners: Vec<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exists already", self.object)?;
        match self.owners.as_slice() {
            [] => f.write_str(" and is not managed by this resource"),
            owners => write!(f, " and is managed by {}", owners.join(", ")),
        }
    }
}

/// The time ran out before what was waited for came true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// `Deployment istio-system/istiod to be available`
    pub waiting_for: String,
    pub waited: Duration,
    /// The last state seen, in words: conditions, events.
    pub last_state: Vec<String>,
    /// No answer came in all that time.
    pub unanswered: bool,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {} s for {}", self.waited.as_secs(), self.waiting_for)?;
        match self.last_state.as_slice() {
            [] => Ok(()),
            states => write!(f, "; last seen: {}", states.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Kind;
    use serde_json::json;

    #[test]
    fn a_conflict_is_read_from_the_causes() {
        let cause =
            |field: &str, message: &str| json!({"reason": "FieldManagerConflict", "field": field, "message": message});
        let body = json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "Apply failed with 2 conflicts", "details": {"name": "istiod", "causes": [
            cause(".spec.replicas", "conflict with \"kube-controller-manager\" with subresource \"scale\" using apps/v1 at 2026-01-01T00:00:00Z"),
            cause(".spec.template.spec.containers[name=\"discovery\"].image", "conflict with \"kubectl-edit\" using apps/v1 at 2026-01-01T00:00:00Z"),
        ]}});
        let status = Status::parse(409, body.to_string().as_bytes(), &Secrets::default());
        let object = ObjectRef::namespaced(Kind::DEPLOYMENT, "istio-system", "istiod");
        let conflict = Conflict::parse(&object, &status).unwrap();
        assert_eq!(conflict.fields[0].operation.as_deref(), Some("subresource scale"));
        assert_eq!(
            conflict.to_string(),
            "Deployment istio-system/istiod has fields that others manage: spec.replicas (kube-controller-manager), \
             spec.template.spec.containers[name=\"discovery\"].image (kubectl-edit)"
        );
        assert_eq!(Conflict::parse(&object, &Status { code: 409, ..Status::default() }), None);
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted_in_short() {
        let none = Secrets::default();
        let status = Status::parse(502, b"<html>\n  <body>Bad\n gateway</body></html>", &none);
        assert_eq!(status.message, "HTTP status 502: <html> <body>Bad gateway</body></html>");
        assert_eq!(Status::parse(503, b"", &none).message, "HTTP status 503");
    }

    #[test]
    fn what_is_wrong_is_not_what_is_not_there_yet() {
        let error = |failure| Error::new("east", failure);
        let file = |missing| Failure::ConfigFile { path: String::new(), detail: String::new(), missing };
        let wrong = || Failure::Config { detail: String::new() };
        assert!(error(Failure::NotKnown).is_not_known() && error(Failure::NotKnown).is_not_configured());
        assert!(error(file(true)).is_not_configured() && !error(file(true)).is_not_known());
        for failure in [file(false), wrong(), Failure::Credential { detail: String::new() }] {
            let error = error(failure);
            assert!(!error.is_not_configured() && !error.is_not_known() && !error.is_unreachable(), "{error}");
        }
    }

    #[test]
    fn only_an_answer_shows_that_a_cluster_is_reachable() {
        let is_answer = |failure| Error::new("east", failure).is_answer();
        let (address, detail) = (String::new(), String::new());
        for failure in [
            Failure::NotKnown,
            Failure::Config { detail: detail.clone() },
            Failure::Exec { command: detail.clone(), detail: detail.clone(), install_hint: None },
            Failure::Resolve { host: address.clone(), detail: detail.clone() },
            Failure::Connect { address: address.clone(), detail: detail.clone() },
            Failure::Tls { address: address.clone(), detail: detail.clone() },
            Failure::Broken { address, detail: detail.clone() },
            Failure::Unexpected { detail },
            Failure::Api(Box::new(Status { code: 503, ..Status::default() })),
        ] {
            assert!(!is_answer(failure.clone()), "{failure:?}");
        }
        assert!(is_answer(Failure::Forbidden { message: String::new() }));
        assert!(is_answer(Failure::Api(Box::new(Status { code: 404, ..Status::default() }))));
    }

    #[test]
    fn a_plan_goes_on_only_without_a_cluster_that_does_not_answer() {
        let unreachable = |failure| Error::new("east", failure).is_unreachable();
        assert!(unreachable(Failure::Connect { address: String::new(), detail: String::new() }));
        for front in [502, 503, 504, 520, 521, 522, 523, 530] {
            let front = || Failure::Api(Box::new(Status { code: front, ..Status::default() }));
            assert!(unreachable(front()) && !Error::new("east", front()).is_answer());
        }
        assert!(!unreachable(Failure::Api(Box::new(Status { code: 501, ..Status::default() }))));
        assert!(!unreachable(Failure::Api(Box::new(Status { code: 404, ..Status::default() }))));
        assert!(!unreachable(Failure::Tls { address: String::new(), detail: String::new() }));
        assert!(!unreachable(Failure::Forbidden { message: String::new() }));
    }
}
