//! What to do about a refusal, by the words of the API server.

/// How the API server refuses objects in a namespace that somebody deletes.
pub(super) const BEING_TERMINATED: &str = "because it is being terminated";

/// What is left to say of a refusal that this provider does not know.
pub(super) const SAYS_WHY: &str = "An admission plugin or another rule of the cluster refuses it: change what the message names, or ask who keeps the cluster.";

/// What to do about a refusal, by what the API server and those it asks say.
pub(super) fn refused_by(message: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().all(|word| message.contains(word));
    let says_one_of = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_uncalled = says(&["failed calling webhook"]);
    Some(if is_uncalled && says(&["x509", "unknown authority"]) {
        "The API server does not trust the certificate of an admission webhook: the `caBundle` in its webhook configuration is not of the authority that has signed it. Of Istio's webhooks istiod writes it: check that istiod runs and is allowed to update its webhook configurations."
    } else if is_uncalled && says(&["x509"]) {
        "The API server does not accept the certificate of an admission webhook: renew the certificate, or correct the webhook configuration. istiod renews that of Istio's webhooks: check that it runs."
    } else if is_uncalled && says_one_of(&["deadline exceeded", "i/o timeout", "Client.Timeout exceeded"]) {
        "An admission webhook of the cluster gives the API server no answer in time. Check that its Pods are ready, and that the API server can reach them: private clusters need a firewall rule for it, for istiod on port 15017."
    } else if is_uncalled {
        "An admission webhook of the cluster does not answer. Check that its Service has Pods that are ready; if what served it is gone for good, delete the webhook configuration."
    } else if says(&["admission webhook", "denied the request"]) {
        "A policy of the cluster refuses it, by an admission webhook: change what the policy objects to, or ask who keeps the policy."
    } else if says(&["ValidatingAdmissionPolicy"]) || says(&["violates PodSecurity"]) {
        "A policy of the cluster refuses it: change what the policy objects to, or ask who keeps the policy."
    } else if says(&["exceeded quota"]) || says(&["failed quota"]) {
        "The namespace's ResourceQuota has no room for it: raise the quota, or remove what is not needed."
    } else if says(&["status unknown for quota"]) {
        "The namespace's ResourceQuota is new and has not been counted yet: apply again in a few seconds."
    } else if says(&[" usage per "]) {
        "The namespace's LimitRange does not allow it: change the requests or limits in `values`, or the LimitRange."
    } else if says(&["GKE Warden"]) {
        "The cloud's own policy protects this namespace or kind, whatever rights the identity has: use another namespace."
    } else if says(&[BEING_TERMINATED]) {
        "The namespace is being deleted: apply again when it is gone. If it stays, its conditions and finalizers say why."
    } else if says(&["User \"system:anonymous\""]) {
        "The request came without a credential, or the API server takes none of its kind: give the cluster's entry in `clusters` a token, a certificate or an exec plugin."
    } else if says(&["attempting to grant RBAC permissions not currently held"])
        || says(&["forbidden: User", " cannot "])
    {
        "Grant the provider's identity this right. `examples/rbac/provider.yaml` is a ClusterRole with all that it needs."
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use crate::cluster::{Error, Failure, Status};

    #[test]
    fn advice_comes_from_what_is_said_and_not_from_the_status_code() {
        let forbidden = |message: &str| Error::new("east", Failure::Forbidden { message: message.into() }).remedy();
        for (message, advice) in [
            (
                r#"secrets is forbidden: User "ci" cannot list resource "secrets" in API group """#,
                "Grant the provider's identity",
            ),
            (
                "pods \"istiod\" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=2, limited: cpu=2",
                "ResourceQuota",
            ),
            (r#"admission webhook "validation.gatekeeper.sh" denied the request: no"#, "admission webhook"),
            (
                "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                "policy of the cluster",
            ),
            ("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": y", "policy of the cluster"),
            ("unable to create new content in namespace a because it is being terminated", "is being deleted"),
            ("secrets \"x\" is forbidden: status unknown for quota: q, resources: secrets", "apply again in a few"),
            ("pods \"x\" is forbidden: maximum cpu usage per Container is 1, but limit is 2", "LimitRange"),
            (
                r#"namespaces "kube-system" is forbidden: User "x" cannot create resource "roles": GKE Warden authz [denied by p]"#,
                "another namespace",
            ),
            (
                r#"namespaces "a" is forbidden: User "system:anonymous" cannot get resource "namespaces""#,
                "without a credential",
            ),
            (
                r#"clusterroles "x" is forbidden: user "ci" is attempting to grant RBAC permissions not currently held"#,
                "Grant the provider's identity",
            ),
            (r#"forbidden: User "ci" cannot get path "/version""#, "Grant the provider's identity"),
            (r#"pods "x" is forbidden: no reason that anybody knows"#, "ask who keeps the cluster"),
        ] {
            assert!(forbidden(message).contains(advice), "{message}: {}", forbidden(message));
        }
        let post = r#"Post "https://istiod.istio-system.svc:443/validate?timeout=10s": "#;
        for (why, advice) in [
            (r#"no endpoints available for service "istiod""#.to_owned(), "Pods that are ready"),
            (format!("{post}dial tcp 10.0.0.1:443: connect: connection refused"), "Pods that are ready"),
            (
                format!("{post}tls: failed to verify certificate: x509: certificate signed by unknown authority"),
                "caBundle",
            ),
            (format!("{post}x509: certificate has expired or is not yet valid"), "renew the certificate"),
            (format!("{post}context deadline exceeded"), "15017"),
            (format!("{post}dial tcp 10.0.0.1:15017: i/o timeout"), "15017"),
            (format!("{post}net/http: request canceled (Client.Timeout exceeded while awaiting headers)"), "15017"),
        ] {
            let message = format!(
                "Internal error occurred: failed calling webhook \"x.istio.io\": failed to call webhook: {why}"
            );
            let api = Failure::Api(Box::new(Status { code: 500, message, ..Status::default() }));
            let said = Error::new("east", api).remedy();
            assert!(said.contains(advice), "{why}: {said}");
            assert!(advice == "Pods that are ready" || !said.contains("delete"), "{why}: {said}");
        }
        let expired =
            Failure::Unauthorized { source_of_credential: "token".into(), message: "token has expired".into() };
        assert!(Error::new("east", expired).remedy().contains("has expired"));
    }
}
