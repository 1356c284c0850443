//! The risks a review knows: one table, from which the guide's page is made. A number is never given to another risk.
//!
//! A new one goes to the end, with the next number. It is found by a line in `find/rules.rs`, or in the file of its
//! subject by `cx.risk`, which may give it another level. `make docs` writes the page.

use std::collections::BTreeSet;

use serde::Serialize;

use super::text::Prose;

/// How much a risk matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Note,
    /// Look at it.
    Warning,
    /// Somebody must decide.
    Danger,
    /// A policy does not allow it.
    Forbidden,
}

/// A kind of risk.
#[derive(Debug, PartialEq, Eq)]
pub struct RiskKind {
    pub number: &'static str,
    /// Anchor in the guide, and name in policies.
    pub name: &'static str,
    pub level: Level,
    pub title: &'static str,
    pub why: &'static str,
    pub check: &'static str,
}

/// A risk that a plan brings.
#[derive(Debug, Clone)]
pub struct Risk {
    pub kind: &'static RiskKind,
    pub level: Level,
    /// All that it concerns, as far as the plan names them.
    pub clusters: BTreeSet<String>,
    pub address: String,
    /// Its address before, where a `moved` block gives it this one: policies by either hold.
    pub formerly: Option<String>,
    pub what: Prose,
    pub before: Prose,
    pub after: Prose,
    /// Why a policy lets it pass.
    pub accepted: Option<Prose>,
    /// What a policy says of it.
    pub policy: Option<Prose>,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Note, Self::Warning, Self::Danger, Self::Forbidden];

    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Danger => "danger",
            Self::Forbidden => "forbidden",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }
}

impl RiskKind {
    /// By number or name.
    pub fn find(word: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|kind| kind.name == word || kind.number.eq_ignore_ascii_case(word))
    }
}

macro_rules! risks {
    ($( $constant:ident = $number:literal, $name:literal, $level:ident, $title:literal, $why:literal, $check:literal; )*) => {
        $( pub static $constant: RiskKind =
            RiskKind { number: $number, name: $name, level: Level::$level, title: $title, why: $why, check: $check }; )*
        /// In the order of their numbers.
        pub static ALL: &[&RiskKind] = &[$( &$constant ),*];
    };
}

risks! {
    ROOT_WITHOUT_OVERLAP = "R01", "root-without-overlap", Danger,
        "The root of trust changes without overlap",
        "Certificates of the old and of the new root do not accept each other. While both are in use every mTLS connection between them fails, within a cluster and across.",
        "Rotate instead: raise `root.generation` (or give another `root.certificate`) of the existing `mesh_ca`, so that every cluster first trusts both. If the old root has expired, nothing is left to interrupt.";
    ROTATION_STEP = "R02", "rotation-step", Warning,
        "A rotation of the root takes a step, or will take the next one sooner",
        "A rotation is three applies: trust both roots, issue from the new one, trust the new one alone. Each waits for every istiod, and for `rotation_pause`; the mesh stays in between until the next plan.",
        "Is every cluster up? Do istiods run with `ISTIO_MULTIROOT_MESH=true`? Who plans the next step, and when? Before the last step: has every workload renewed its certificate since the one before?";
    CONTROL_PLANE_REPLACED = "R03", "control-plane-replaced", Danger,
        "A control plane is deleted and recreated",
        "Where the old one goes first, nothing injects Pods in between, no proxy gets configuration or a certificate, and the webhooks are gone. Running proxies keep what they have.",
        "Which attribute forces it (`replace_paths` in the plan)? Could a second `mesh_primary` with another `revision` run beside it first?";
    ALL_AT_ONCE = "R04", "all-control-planes-at-once", Warning,
        "All control planes restart in one apply, or may at the next upgrade",
        "The core applies instances of one resource side by side. A version or a setting that does not work then stops the control planes of all clusters at once, and there is none left to compare with.",
        "Can one cluster go first, by `rollout` of the other control planes for a version, or by a setting of its own? Does a test mesh run with this already?";
    IDENTITY_CHANGED = "R05", "identity-changed", Danger,
        "Mesh id, trust domain or cluster name changes",
        "Proxies and istiods know each other by these. Until the last of them has restarted, old and new refuse each other's identities or do not find each other's endpoints; authorization policies may name the old ones.",
        "Do `trust_domain_aliases` name the old trust domain? Do policies name it? Which remote secrets carry the old cluster name?";
    NETWORK_CHANGED = "R06", "network-changed", Warning,
        "A cluster changes its network",
        "Proxies that run keep the old network until their Pods are restarted: until then istiods give them, and give others of them, the wrong way, directly or by a gateway.",
        "Does a gateway carry the new network's name in the same plan? Who restarts the workloads, and when?";
    CONTROL_PLANE_REMOVED = "R07", "control-plane-removed", Warning,
        "A control plane is removed",
        "Pods it injected keep their proxies, which get no certificate any more when theirs ends (a day by default), and no configuration.",
        "Do namespaces still carry its `istio.io/rev`, its tag or `istio-injection=enabled`? Have all workloads restarted under another?";
    WATCHER_REMOVED = "R08", "watcher-removed", Warning,
        "A control plane no longer sees a cluster",
        "Clients in the watching cluster lose all endpoints in the watched one at once; the token that is stored there is revoked. Where it was the last watcher, nobody outside finds the cluster's services any more.",
        "Do clients there call services that run in the other cluster alone?";
    LAST_GATEWAY_REMOVED = "R09", "last-gateway-removed", Danger,
        "A network loses its last gateway",
        "Clients in other networks dial Pods of this network at addresses they cannot reach, and wait until they time out.",
        "Is another gateway with this network's name kept elsewhere? Is no cluster of the network left?";
    GATEWAY_ADDRESS = "R10", "gateway-address-changes", Warning,
        "The address of a gateway may change",
        "Other clusters keep calling the old address until their istiods have learnt the new one. What holds the address by hand (firewalls, DNS, `mesh_networks`, `exporters` of a `mesh_service_entry`) does not learn it.",
        "Can the load balancer keep its address? Who holds it by hand?";
    HOSTS_WIDENED = "R11", "hosts-widened", Warning,
        "More services can be called from other networks",
        "A gateway lets in whoever presents a certificate of the mesh's roots, and passes it on to each of the hosts listed: of every namespace, where a host begins with `*`.",
        "Do AuthorizationPolicies protect what becomes callable? Would names of single services do?";
    EXPOSED_TO_ALL = "R12", "exposed-to-all", Warning,
        "A gateway can be reached from more networks",
        "Everyone who reaches the address of a load balancer without source ranges can connect to it. mTLS guards what is behind it, not the address itself.",
        "Is the load balancer an internal one (annotations, class)? Could `source_ranges` list the other clusters' egress addresses?";
    WEBHOOK = "R13", "webhook-widened", Warning,
        "A webhook fails closed, or selects more",
        "While istiod does not answer, a webhook that fails closed stops what it selects from being made: Pods do not start, configuration is refused.",
        "Do two replicas of istiod run? Are namespaces excluded that the cluster itself needs, such as `kube-system`?";
    DEFINITION = "R14", "definition-removed", Danger,
        "A CustomResourceDefinition goes, or a version of it",
        "A definition that still has objects stays, and the apply says so. Where it has none it goes, and nobody can create such objects any more. A version that is no longer served or stored makes objects unreadable that were written in it.",
        "`kubectl get` the objects of the kind in all namespaces; `status.storedVersions` of the definition.";
    NAMESPACE = "R15", "namespace-removed", Warning,
        "A namespace is removed where it is empty",
        "A namespace in which others have put something stays, and the apply says so. One that goes takes its labels, quotas and default ServiceAccount with it.",
        "What else is in it? `kubectl api-resources --verbs=list --namespaced -o name` lists the kinds to ask for.";
    SECRETS = "R16", "secrets-readable", Warning,
        "More can read Secrets",
        "A watcher with `read_secrets` holds a token that reads every Secret of the watched cluster: who takes over the watching istiod has them.",
        "Does a gateway of the watching cluster need credentials from there? Otherwise set `read_secrets = false`, and `read_remote_secrets = false` in the `mesh_primary` of the watchers.";
    LONG_TOKEN = "R17", "long-token", Warning,
        "A token lives long, or for ever",
        "A token that leaks stays good until its end; one without an end until somebody revokes it.",
        "Is there a reason that bounded tokens do not work here?";
    TOKEN_ENDS = "R18", "token-ends", Note,
        "A token must be renewed more often",
        "Tokens are renewed by an apply, unless `token.renewal` makes a job that does it. When no apply comes in time, the watching istiod loses the cluster.",
        "Does a pipeline plan and apply at least this often?";
    VERSION_SKIPPED = "R19", "version-skipped", Danger,
        "An upgrade skips a minor version",
        "Istio supports an upgrade by one minor version in place, by two with revisions. What lies between is tested by nobody.",
        "The upgrade notes of every version between; a step by way of each.";
    VERSION_LOWERED = "R20", "version-lowered", Danger,
        "A version goes back",
        "Definitions and configuration of the newer version stay; an older istiod may not understand them.",
        "Is it a way back from a failed upgrade? Which objects use what only the newer version knows?";
    VERSION_SKEW = "R21", "version-skew", Warning,
        "Versions drift apart",
        "Istio supports proxies and gateways at most two minor versions older than their control plane, and none that are newer; control planes of one mesh should be at most one apart.",
        "When do the others follow?";
    MTLS = "R22", "mtls-weakened", Danger,
        "Encryption or identity checks are weakened",
        "What is sent in plain text can be read and forged on the way, and does not cross networks at all.",
        "Who asked for it, for which traffic, until when?";
    FORCED = "R23", "fields-forced", Warning,
        "Fields are taken from other managers",
        "With `force_conflicts` an apply overwrites what people or other tools set. A controller among them writes it again, and so on.",
        "Who else writes these fields, and has it stopped?";
    ADOPTED = "R24", "objects-adopted", Warning,
        "Objects of others are taken over",
        "With `adopt`, by an import or by a `moved` block, objects that helm, istioctl or people made become this configuration's: it changes them, and a destroy removes them.",
        "Does what made them still run (a helm release, Argo CD, Flux)? Does the plan show only changes that you want?";
    AUTHORITY_REMOVED = "R25", "authority-removed", Danger,
        "A certificate authority is removed",
        "Without `cacerts` an istiod makes a root of its own when it next starts, which no other cluster trusts. The key of a root that was generated is gone for good.",
        "Does the mesh end as well? If not: is its trust brought elsewhere first?";
    DRIFT = "R26", "changed-outside", Warning,
        "Others changed what this configuration keeps",
        "Somebody changed it for a reason, perhaps to end an outage. The page says what this plan reverts and what stays as it is.",
        "Ask who is named. Put the change into the configuration, or let the plan revert it.";
    CANNOT_TELL = "R27", "cannot-tell", Warning,
        "Something cannot be told from this plan",
        "The review judges only what it can read. It does not judge what is unknown until the apply, what is marked as sensitive and changes, or what is in a form that it does not know.",
        "Can you plan again when it is known? Can the configuration name a value that is no secret, with `nonsensitive`? Otherwise read this part of the plan itself.";
    LEFT_BEHIND = "R28", "left-behind", Warning,
        "Something stays in a cluster that nobody keeps",
        "Forgotten objects continue to work, and no plan shows them again. No apply renews or revokes their tokens and intermediates: each is valid until it ends. A token without an end, or one that a job renews, is valid until somebody deletes the Secret in the watched cluster that it is bound to.",
        "Who removes them, and when?";
    NOT_AWAITED = "R29", "not-awaited", Note,
        "An apply does not wait until it works",
        "With `wait = false` an apply succeeds though no istiod may be in sync or no gateway have an address.",
        "Does something else look, such as `data.mesh_status`?";
    IDENTITIES = "R30", "identities-widened", Warning,
        "More identities are accepted",
        "Whoever holds one of the identities named may answer for a service, or counts as one of the mesh's own. Whoever has the key of a root that is accepted can make any identity.",
        "Who can get a certificate with these names? Who has the key of the root?";
    DESTINATION_CHANGED = "R31", "destination-changed", Danger,
        "Tokens, requests for certificates or calls go elsewhere",
        "Whoever answers at the new address gets the tokens of watchers, the keys or the Pods that are sent there. mTLS guards calls between workloads, and not these.",
        "Whose address is it? Who asked for the change?";
    SOURCE_CHANGED = "R32", "source-changed", Danger,
        "Charts or images come from elsewhere",
        "What they hold runs in the control plane and beside every workload, with its rights and its keys.",
        "Who can push there? Are the digests pinned (`charts.digests`, an image by its digest)?";
    SERVICE_REMOVED = "R33", "service-removed", Warning,
        "A service of another mesh can no longer be called, or must be called differently",
        "Calls to a name, a port or a subset that is removed fail. Other changes reach every client as soon as its proxy has the new configuration, also a client that is not prepared for them.",
        "Which clients call it? Does another `mesh_service_entry` or a DNS name replace it?";
    RIGHTS_WIDENED = "R34", "rights-widened", Warning,
        "Somebody may do more in a cluster",
        "A star stands for everything that there is and will be; a new binding gives somebody the rights of a role.",
        "Does the chart of the new version ask for it? Who holds the tokens of the account?";
    ROLE_CHANGED = "R35", "role-changed", Warning,
        "A cluster or a gateway is served by another control plane",
        "The proxies get their configuration and certificates from that control plane. Proxies that run keep the old one until their Pods are restarted.",
        "Is the control plane that serves it there and reachable? Who restarts the workloads?";
    ROTATION_PREVENTED = "R36", "rotation-prevented", Warning,
        "The root can no longer be rotated without interruption",
        "Istiods and proxies that take no second root refuse each other's certificates in the middle of a rotation.",
        "Is a rotation under way or planned? Which roots do the clusters trust?";
    API_SERVER_EXPOSED = "R37", "api-server-exposed", Warning,
        "An API server can be dialled through a gateway",
        "The gateway passes TLS on to the cluster's API server. Its own logins and rights are then all that guards it: what it lists of allowed networks sees the gateway, and so do audit logs.",
        "Are the source ranges those of the watchers' istiods and of the other clusters alone? What may somebody do who has not logged in (`kubectl auth can-i --list --as=system:anonymous --as-group=system:unauthenticated`)?";
    ACCESS_NARROWED = "R38", "access-narrowed", Warning,
        "Something can no longer be reached",
        "Whoever came in by it is refused from the apply on: calls from other networks end, or watchers lose a cluster. Proxies of remote clusters get no certificate any more when theirs ends (a day by default), and no configuration.",
        "Who comes in by it today? Is there another way, and does everybody know it already?";
    IDENTITIES_NARROWED = "R39", "identities-narrowed", Warning,
        "Fewer identities are accepted",
        "Whoever has one that is no longer accepted is refused at once, calls that run today included.",
        "Does anything still present it? Logs of the proxies and the certificates in use tell.";
    INJECTION_CHANGES = "R40", "injection-changes", Warning,
        "New Pods may start without a proxy, or not at all",
        "Pods that run keep their proxies. Those that start later get none where no webhook chooses them any more, and then send and take plain text.",
        "Which namespaces carry the label (`istio.io/rev`, `istio-injection`)? Does another control plane or tag of the cluster serve them?";
    CHECK_FAILED = "R41", "check-failed", Warning,
        "A check of the configuration does not pass",
        "A `check` block, or a condition of a resource or an output, says that something is not as its author wants it. A failed `check` block stops no apply.",
        "Does it fail because of this plan, or did it before?";
    LEFT_OVER_REMOVED = "R42", "left-over-removed", Warning,
        "What an earlier replacement left over is removed",
        "A replacement by `create_before_destroy` was interrupted after the new resource was made. This plan removes the old one: its objects, its tokens or its certificates, as far as the new one has not taken them over.",
        "Does the new one work? Does anything still use the old one?";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risks_are_numbered_in_order_and_told_in_sentences() {
        for (at, kind) in ALL.iter().enumerate() {
            assert_eq!(kind.number, format!("R{:02}", at + 1));
            assert_eq!(RiskKind::find(kind.name), Some(*kind));
            for text in [kind.why, kind.check] {
                assert!(text.ends_with(['.', '?']), "{}: {text}", kind.name);
            }
        }
    }
}
