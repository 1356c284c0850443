//! Where the requests of an apply, of a plan that changes nothing and of a destroy go: counted in the API servers'
//! audit logs, by what they are for. Bounds of what each cluster and each link costs are asserted; requests do not
//! depend on how fast a machine is, but for those of waits, which are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::{Lab, Options, Request, Requests};

use crate::links_topologies::Run;
use crate::support::cli::clis;

const EXAMPLE: &str = "multi-primary-two-networks";
const AGENT: &str = "terraform-provider-mesh";
pub const HEADING: &str = "## Where the requests go";

/// Why goals are missed, by what the requests are for.
const GOALS: &str = "\
     The goals were 60 requests a cluster and 2 a link for an apply, and 18 a cluster for a plan that changes nothing. They are missed, because what is over them keeps a promise:\n\
     \n\
     - **An apply, 84 a cluster.** 58 are the writes above: an API server takes one object in a request. Some are looks before a write: what is there of ours, whether webhooks serve, which `cacerts` there are, which namespaces refuse Pods. The rest proves that it works: rollouts, an injected Pod, the roots that are handed out, what istiods say. With 60, an apply would write blindly, and end before anything works.\n\
     - **A link, 3.** Without a Secret of its own a token could not be revoked alone, and without a request for one it would have no end.\n\
     - **A plan, 21.** The three lists of policies and rules are what is over 18. Nothing else shows what turns mTLS off between networks.\n\
     \n\
     A destroy has no such goal. Each object is deleted by a request of its own, which names the object's uid: a deletion by label would take what somebody else has labelled. Each definition is asked for objects, and a namespace for residents of every kind, since what goes with them is gone for good.\n\n";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Definitions,
    Objects,
    Instances,
    Owned,
    Binding,
    Token,
    RemoteSecret,
    Authority,
    Leases,
    Namespace,
    Residents,
    OfIstiod,
    Policies,
    Istiods,
    Waits,
    Looks,
}

const PURPOSES: [(Purpose, &str, &str); 16] = [
    (
        Purpose::Definitions,
        "Istio's definitions",
        "a patch, later a deletion, of each CustomResourceDefinition; a watch until they are gone",
    ),
    (Purpose::Objects, "objects of control plane, gateway and reader", "a patch, later a deletion, of each"),
    (Purpose::Instances, "whether a definition has objects", "a list for each definition, before it is deleted"),
    (Purpose::Owned, "what is there of ours", "a list for each kind, once for all resources of a walk"),
    (
        Purpose::Binding,
        "link: what its token is bound to",
        "a Secret for each link, so that each token can be revoked alone",
    ),
    (Purpose::Token, "link: its token", "a TokenRequest for each link; nothing is stored"),
    (Purpose::RemoteSecret, "link: its remote secret", "a Secret for each link, in the watcher"),
    (Purpose::Authority, "roots and intermediates", "the Secrets of the CA, looked at and written"),
    (
        Purpose::Leases,
        "Leases of instances",
        "taken and given back by each resource, renewed every six seconds, and after a create every half minute until the run ends",
    ),
    (Purpose::Namespace, "the namespace", "made, labelled, left, waited for"),
    (
        Purpose::Residents,
        "who is in the namespace",
        "Leases first; where there is none, a list for each kind, once, before it is deleted",
    ),
    (Purpose::OfIstiod, "what istiod leaves behind", "ConfigMaps and Leases that nobody else deletes"),
    (
        Purpose::Policies,
        "policies and rules of Services",
        "three lists in each plan: what turns mTLS off, and what differs between clusters",
    ),
    (Purpose::Istiods, "what istiods say", "their Pods, and a port-forward over which all questions go"),
    (Purpose::Waits, "waits and proofs", "watches, an injected Pod that is not stored, the roots that are handed out"),
    (Purpose::Looks, "other looks", "what decides whether something may be written"),
];

impl Purpose {
    fn of(request: &Request) -> Purpose {
        let Request { verb, resource, name, uri, .. } = request;
        let list = verb == "list";
        let has = |text: &str| uri.contains(text);
        let of_istio = has(".istio.io/v1");
        match resource.as_str() {
            "customresourcedefinitions" if !list || !has("labelSelector=terraform-provider-mesh%2Fowner&") => {
                Purpose::Definitions
            }
            "serviceaccounts/token" => Purpose::Token,
            "secrets" if name.starts_with("istio-remote-secret-") => Purpose::RemoteSecret,
            "secrets" if name.starts_with("istio-mesh-reader.") || has("owner%3Dmesh_remote_cluster") => {
                Purpose::Binding
            }
            "secrets" if !name.is_empty() => Purpose::Authority,
            "leases" if name.starts_with("mesh-") => Purpose::Leases,
            "namespaces" if list => Purpose::Looks,
            "namespaces" => Purpose::Namespace,
            "" => Purpose::Residents,
            _ if list && of_a_namespace(uri) => Purpose::Residents,
            _ if list && of_istio && has("limit=100") => Purpose::Instances,
            "leases" if list && has("labelSelector=terraform-provider-mesh%2Fowner&") => Purpose::Residents,
            "secrets" if list && has("labelSelector=terraform-provider-mesh%2Fowner&") => Purpose::Owned,
            "peerauthentications" | "destinationrules" | "virtualservices" if list => Purpose::Policies,
            "pods" if list => Purpose::Istiods,
            "pods/portforward" => Purpose::Istiods,
            _ if verb == "watch" || matches!(resource.as_str(), "pods" | "selfsubjectreviews") => Purpose::Waits,
            "configmaps" if verb == "get" && name.as_str() == "istio-ca-root-cert" => Purpose::Waits,
            "configmaps" | "leases" if verb == "delete" && is_of_istiod(name) => Purpose::OfIstiod,
            "configmaps" | "leases" if list && (!has("labelSelector") || has("istio.io%2Fconfig")) => Purpose::OfIstiod,
            _ if list && has("labelSelector=terraform-provider-mesh%2Fowner&") => Purpose::Owned,
            _ if matches!(verb.as_str(), "patch" | "delete") => Purpose::Objects,
            _ => Purpose::Looks,
        }
    }
}

/// A list of all that a namespace has of a kind.
fn of_a_namespace(uri: &str) -> bool {
    uri.contains("/namespaces/") && uri.ends_with("?limit=100")
}

/// ConfigMaps and Leases of istiod's own; `istio`, its configuration, is the chart's.
fn is_of_istiod(name: &str) -> bool {
    name.starts_with("istio-") && name != "istio-sidecar-injector"
}

/// The requests of one step, by cluster.
struct Step {
    name: &'static str,
    clusters: Vec<(String, Requests)>,
}

impl Step {
    fn total(&self) -> usize {
        self.clusters.iter().map(|(_, requests)| requests.len()).sum()
    }

    fn of(&self, purpose: Purpose) -> usize {
        self.clusters.iter().map(|(_, requests)| of(requests, purpose).len()).sum()
    }
}

fn of(requests: &Requests, purpose: Purpose) -> Requests {
    requests.only(|request| Purpose::of(request) == purpose)
}

/// A full mesh of as many clusters: made, planned again, destroyed.
fn steps(size: usize, binary: &Path) -> Vec<Step> {
    let names: Vec<String> = (1..=size).map(|number| format!("c{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lab = Lab::start(&names, Options { limited: false, ..Options::default() }).expect("clusters");
    let cli = clis().into_iter().next().expect("terraform");
    let run = Run::of_build(&cli, &lab, &format!("examples/{EXAMPLE}"), binary);
    let commands: [(&str, &[&str]); 3] = [
        ("apply", &["apply", "-auto-approve", "-input=false"]),
        ("empty plan", &["plan", "-detailed-exitcode", "-input=false"]),
        ("destroy", &["destroy", "-auto-approve", "-input=false"]),
    ];
    let steps = commands.map(|(name, arguments)| {
        lab.clusters().iter().for_each(|cluster| cluster.reset_requests());
        run.workspace.run(arguments).ok();
        // The audit log is written a little later: it is whole when it has said something, and no more for a second.
        let of =
            |cluster: &std::sync::Arc<lab::Cluster>| (cluster.name().to_owned(), cluster.requests().by_agent(AGENT));
        let logged = || lab.clusters().iter().map(of).collect::<Vec<_>>();
        let mut clusters = logged();
        for _ in 0..180 {
            let before: Vec<usize> = clusters.iter().map(|(_, requests)| requests.len()).collect();
            std::thread::sleep(Duration::from_secs(1));
            clusters = logged();
            if before.iter().all(|count| *count > 0) && clusters.iter().map(|(_, all)| all.len()).eq(before) {
                break;
            }
        }
        Step { name, clusters }
    });
    steps.into()
}

/// Bounds that hold for each cluster, whatever the size: so much for itself, and so much for each cluster that it is
/// linked with.
#[test]
fn requests_grow_as_clusters_and_links_do() {
    if clis().is_empty() {
        return;
    }
    let others = 2;
    let steps = steps(others + 1, Path::new(env!("CARGO_BIN_EXE_terraform-provider-mesh")));
    let [apply, plan, destroy] = steps.as_slice() else { panic!("three steps") };
    for step in [apply, plan, destroy] {
        let (name, requests) = &step.clusters[others];
        println!("{} in {name}: {} requests\n{}", step.name, requests.len(), requests.listing());
    }
    for (at, (name, requests)) in apply.clusters.iter().enumerate() {
        let told = || format!("apply in {name}:\n{}", requests.listing());
        for purpose in [Purpose::Binding, Purpose::Token, Purpose::RemoteSecret] {
            assert_eq!(of(requests, purpose).len(), others, "{purpose:?}, one a link: {}", told());
        }
        let policies = of(requests, Purpose::Policies).len();
        assert!(policies <= 3, "{policies}: three lists for the plan, and none for the apply: {}", told());
        let namespace = of(requests, Purpose::Namespace).only(|request| request.name == "istio-system");
        assert_eq!(namespace.len(), 2, "made, and labelled: {}", told());
        // The first keeps the root as well. The plan and the apply each ask once which cluster it is. In some orders of
        // the plan two lists tell whether a gateway is there already.
        let bound = if at == 0 { 69 } else { 64 };
        assert!(settled(requests) <= bound + 3 * others, "{} {}", settled(requests), told());
    }
    for (at, (name, requests)) in plan.clusters.iter().enumerate() {
        // One of them is a list of Leases, which ends an hour after the create.
        let bound = if at == 0 { 23 } else { 22 };
        assert!(requests.len() <= bound, "plan in {name}:\n{}", requests.listing());
    }
    for (at, (name, requests)) in destroy.clusters.iter().enumerate() {
        let told = || format!("destroy in {name}:\n{}", requests.listing());
        for purpose in [Purpose::RemoteSecret, Purpose::Binding] {
            // Beside one deletion a link: a list of those the tokens are bound to.
            assert!(of(requests, purpose).len() <= others + 1, "{purpose:?}: {}", told());
        }
        let listed = of(requests, Purpose::Residents).only(|request| of_a_namespace(&request.uri));
        let mut kinds: Vec<&str> = listed.0.iter().map(|request| request.uri.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert!(!kinds.is_empty(), "{}", told());
        assert_eq!(kinds.len(), listed.len(), "each namespace is looked through once: {}", told());
        // A Deployment goes after its Pods, and is the one object whose removal does not end with the answer.
        let waited = requests.only(|request| {
            let of_gateway = request.uri.contains("fieldSelector=metadata.name%3Distio-eastwestgateway");
            of_gateway && request.resource != "deployments"
        });
        assert!(waited.is_empty(), "nothing is waited for that the answer says is gone: {}", told());
        // Of each namespace that goes one list names EndpointSlices, which somebody may have made by hand.
        let bound = if at == 0 { 213 } else { 171 };
        assert!(settled(requests) <= bound + 2 * others, "{} {}", settled(requests), told());
    }
}

/// All but what depends on how long something takes.
fn settled(requests: &Requests) -> usize {
    let waits = [Purpose::Waits, Purpose::Istiods, Purpose::Leases];
    requests.only(|request| !waits.contains(&Purpose::of(request))).len()
}

#[test]
#[ignore = "measures the build that MESH_TEST_BINARY names: make bench"]
fn figures_of_requests() {
    let binary = std::env::var_os("MESH_TEST_BINARY").expect("MESH_TEST_BINARY names the build");
    let binary = fs::canonicalize(binary).expect("the build");
    let made: Vec<(usize, Vec<Step>)> = [2, 6].map(|size| (size, steps(size, &binary))).into();
    let table = table(&made);
    println!("{table}");
    if std::env::var_os("MESH_BENCH_PAGE").is_some() {
        let path = page();
        let text = fs::read_to_string(&path).expect("the page");
        let above = text.split(HEADING).next().unwrap_or_default().trim_end();
        fs::write(&path, format!("{above}\n\n{table}")).expect("the page");
    }
}

/// The section that an earlier run has written, which a run of the other figures keeps.
pub fn section() -> Option<String> {
    let text = fs::read_to_string(page()).ok()?;
    text.find(HEADING).map(|at| text[at..].to_owned())
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/benchmarks.md")
}

fn table(made: &[(usize, Vec<Step>)]) -> String {
    let mut columns: BTreeMap<(usize, usize), &Step> = BTreeMap::new();
    for (size, steps) in made {
        columns.extend(steps.iter().enumerate().map(|(at, step)| ((at, *size), step)));
    }
    let mut text = format!(
        "{HEADING}\n\nThe same meshes, each request by what it is for, counted by `make bench` apart from the figures above. An apply is a plan and what follows it; a destroy is a refresh, a plan and what \
         follows. A full mesh of two clusters has 2 links, one of six has 30.\n\n\
         Nearly all of an apply is fixed by what there must be. In each cluster that is 58 writes: 15 definitions, 19 objects of the control plane, 7 of the gateway and 5 of the reader, 2 to the namespace, \
         1 of `cacerts` and 9 of Leases. A link is three requests: a Secret, a token that is bound to it and can be revoked alone, and the remote secret. No request grows with the square of the \
         clusters but these. A test asserts bounds of what a cluster and a link cost.\n\n\
         An empty plan asks each cluster 21 times: a list for each of 14 kinds, one of the namespaces istio-system and kube-system, whose uid tells which cluster it is, the certificate authority that links check it by, the Pods of istiod, one port-forward to them, and three \
         lists of policies and rules. In the hour after a create there is one more, of Leases. The API server lists no two kinds in one request, so that each of these is a promise: drift of a kind, a link, or what turns mTLS off.\n\n{GOALS}| what for |"
    );
    for ((_, size), step) in &columns {
        write!(text, " {} of {size} |", step.name).expect("a string");
    }
    text.push_str(" why |\n| --- |");
    columns.iter().for_each(|_| text.push_str(" --: |"));
    text.push_str(" --- |\n");
    for (purpose, what, why) in PURPOSES {
        write!(text, "| {what} |").expect("a string");
        columns.values().for_each(|step| write!(text, " {} |", step.of(purpose)).expect("a string"));
        writeln!(text, " {why} |").expect("a string");
    }
    text.push_str("| all |");
    columns.values().for_each(|step| write!(text, " {} |", step.total()).expect("a string"));
    text.push_str(" |\n");
    text
}
