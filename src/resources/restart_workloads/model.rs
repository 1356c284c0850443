//! The configuration of `action.mesh_restart_workloads`.

use crate::model;
use crate::value::{Set, Value};

model! {
    /// Restarts workloads whose sidecars or gateways are behind: those that a new Pod would get another proxy than, and
    /// those that are older than the roots they are given. Whatever is not behind, or has no proxy, keeps running.
    ///
    /// First every Pod of the namespaces is judged, and nothing is restarted unless all of them can be. Then one
    /// workload after the other is restarted, as `kubectl rollout restart` does it, by its own update strategy. Each
    /// is waited for until all its Pods are new and available; one that does not become available is the last.
    ///
    /// Actions need Terraform 1.14 or later. OpenTofu has none, and takes the rest of the provider as before.
    pub struct RestartWorkloads {
        /// Cluster to restart workloads in: a key of the provider's `clusters`.
        #[attr(required, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Namespaces whose Deployments, StatefulSets and DaemonSets are looked at. No other namespace is touched.
        #[attr(required, validate(non_empty()), validate(each(dns_label())))]
        pub namespaces: Value<Set<String>>,
        /// What counts as behind; both where nothing is set. `proxy`: a new Pod would get another proxy, by its image,
        /// arguments or variables, as after an upgrade or after a change of the network or of the mesh configuration.
        /// `roots`: the Pod is older than the roots that its namespace is given (`istio-ca-root-cert`). Many proxies
        /// learn new roots by themselves, so this restarts more than must be.
        #[attr(optional, validate(non_empty()), validate(each(one_of(&["proxy", "roots"]))))]
        pub behind_by: Value<Set<String>>,
        /// Roots that every one of the namespaces must be given first, as certificates in PEM: `root_certificates` of a
        /// `mesh_ca`. istiod hands out a change within a minute or two, and the action waits for it, for
        /// `rollout_timeout` at most. Where nothing is set, the roots of the moment count.
        #[attr(optional, document)]
        pub root_certificates: Value<String>,
        /// Time for the rollout of each workload; `10m` where nothing is set.
        #[attr(optional, validate(duration()))]
        pub rollout_timeout: Value<String>,
    }
}
