//! What `data.mesh_reachability` and `data.mesh_status` say, against calls that arrive or do not: both asked from a
//! workspace of their own, while a layer at a time is broken by hand.

use std::time::{Duration, Instant};

use lab::Cluster;
use lab::traffic::RealPod;
use serde_json::{Value, json};

use crate::links_topologies::Run;
use crate::rbac::looks_alone;
use crate::support::traffic::{SETTLED, ends, host, is_answered};

const LOOK: &str = r#"
variable "port" {
  default = 9000
}

data "mesh_status" "this" {}

data "mesh_reachability" "this" {
  from               = ["east"]
  to                 = ["west"]
  services           = [{ host = "cart.traffic.svc.cluster.local", port = var.port }]
  unanswered_address = "ignored"
}

output "status" {
  value = data.mesh_status.this
}

output "proof" {
  value = data.mesh_reachability.this
}
"#;

/// Both directions and the default of every attribute: nobody here reaches the address of a gateway, which is in a
/// network of its own.
const DEFAULTS: &str = r#"
data "mesh_reachability" "this" {}

check "calls" {
  assert {
    condition     = data.mesh_reachability.this.reachable != false
    error_message = join("\n", data.mesh_reachability.this.findings)
  }
}

output "proof" {
  value = data.mesh_reachability.this
}
"#;

/// A workspace that only looks, and has the rights to do that alone.
pub struct Looking<'a> {
    run: Run<'a>,
    /// The port that clients call.
    port: u16,
}

/// What was seen at a look.
struct Seen {
    status: Value,
    proof: Value,
}

impl<'a> Looking<'a> {
    pub fn new(run: Run<'a>, port: u16) -> Self {
        std::fs::remove_file(run.workspace.path("main.tf")).unwrap();
        looks_alone(&run.workspace, run.lab);
        Self { run, port }
    }

    pub fn cluster(&self, name: &str) -> &Cluster {
        self.run.lab.cluster(name)
    }

    fn look(&self, configuration: &str) -> Seen {
        std::fs::write(self.run.workspace.path("look.tf"), configuration).unwrap();
        self.run.apply().ok();
        let state = self.run.workspace.state();
        let output = |name: &str| state["outputs"][name]["value"].clone();
        Seen { status: output("status"), proof: output("proof") }
    }

    fn at_port(&self, port: u16) -> Seen {
        self.look(&LOOK.replace("9000", &port.to_string()))
    }

    /// A call arrives, the proof says by whom it is answered, and the mesh is healthy.
    #[track_caller]
    pub fn agrees(&self, orders: &RealPod) {
        is_answered(orders, self.port, "west/cart");
        // Calls arrive before all is ready that was mended: the last look judges, and the first that finds all in order
        // is the last.
        let begun = Instant::now();
        let mut seen = self.at_port(self.port);
        while seen.status["healthy"] != true || seen.proof["reachable"] != true {
            if begun.elapsed() > SETTLED {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            seen = self.at_port(self.port);
        }
        let Seen { status, proof } = seen;
        assert_eq!((&status["healthy"], &status["findings"]), (&json!(true), &json!([])));
        assert_eq!((&proof["reachable"], &proof["findings"]), (&json!(true), &json!([])), "{proof:#}");
        let gateways = |cluster: &str| status["status"][cluster]["gateways"]["istio-eastwestgateway"]["hosts"].clone();
        assert_eq!(
            [gateways("east"), gateways("west")],
            [json!(["*.local"]), json!(["*.local"])],
            "what is let through"
        );
        let pair = &proof["pairs"][0];
        assert_eq!(pair["identity"], "spiffe://cluster.local/ns/traffic/sa/cart", "{pair:#}");
        assert_eq!((&pair["layer"], &pair["through"]), (&Value::Null, &json!("port-forward")), "{pair:#}");
        assert_eq!(pair["sni"], format!("outbound_.{}_._.{}", self.port, host("cart")));
    }

    /// Calls end, and the proof names the layer. `unhealthy` is what `data.mesh_status` has to say of it; nothing where
    /// all is as it was asked for.
    #[track_caller]
    pub fn names(&self, orders: &RealPod, layer: &str, words: &str, unhealthy: Option<&str>) {
        ends(orders, self.port);
        self.says("broken", layer, words, unhealthy);
    }

    #[track_caller]
    fn says(&self, verdict: &str, layer: &str, words: &str, unhealthy: Option<&str>) {
        let Seen { status, proof } = self.at_port(self.port);
        let pair = &proof["pairs"][0];
        assert_eq!((&pair["verdict"], &pair["layer"]), (&json!(verdict), &json!(layer)), "{pair:#}");
        let detail = pair["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{words:?} in {detail}");
        assert_eq!(proof["reachable"], json!(false));
        match unhealthy {
            None => assert_eq!(status["healthy"], json!(true), "{}", status["findings"]),
            Some(words) => {
                assert_eq!(status["healthy"], json!(false), "healthy, and no call arrives: {layer}");
                assert!(status["findings"].to_string().contains(words), "{words:?} in {}", status["findings"]);
            }
        }
    }

    /// Calls are lost before the gateway: what clusters report is in order, and no proof is given without a word of the
    /// address.
    #[track_caller]
    pub fn cannot_tell(&self, address: &str) {
        let Seen { status, proof } = self.look(&LOOK.replace("unanswered_address = \"ignored\"", ""));
        assert_eq!(status["healthy"], json!(true), "what no cluster reports is not judged: {}", status["findings"]);
        assert_eq!(proof["reachable"], Value::Null, "{proof:#}");
        let pair = &proof["pairs"][0];
        assert_eq!((&pair["verdict"], &pair["layer"]), (&json!("unknown"), &json!("address")), "{pair:#}");
        assert!(proof["findings"].to_string().contains(address), "{address} in {}", proof["findings"]);
        let strict = self.look(&LOOK.replace("\"ignored\"", "\"broken\"")).proof;
        assert_eq!(
            (&strict["reachable"], &strict["pairs"][0]["layer"]),
            (&json!(false), &json!("address")),
            "{strict:#}"
        );
    }

    #[track_caller]
    pub fn is_unhealthy(&self, words: &str) {
        let Seen { status, .. } = self.at_port(self.port);
        assert_eq!(status["healthy"], json!(false), "{words}");
        assert!(status["findings"].to_string().contains(words), "{words:?} in {}", status["findings"]);
    }

    /// Without a Service nothing is proven, and an address that this machine does not reach is unknown, not broken.
    /// What it costs, and that nothing is written.
    #[track_caller]
    pub fn is_honest(&self) {
        let strict = self.look(&LOOK.replace("unanswered_address = \"ignored\"", "")).proof;
        assert_eq!(strict["reachable"], Value::Null, "{strict:#}");
        let pair = &strict["pairs"][0];
        assert_eq!((&pair["verdict"], &pair["layer"]), (&json!("unknown"), &json!("address")), "{pair:#}");
        let detail = pair["detail"].as_str().unwrap();
        assert!(detail.contains("Behind it all is right: spiffe://cluster.local/ns/traffic/sa/cart"), "{detail}");
        let clusters = self.run.lab.clusters();
        clusters.iter().for_each(|cluster| cluster.reset_requests());
        let proof = self.look(DEFAULTS).proof;
        assert_eq!(proof["reachable"], Value::Null, "{proof:#}");
        for pair in proof["pairs"].as_array().unwrap() {
            // Some machines answer for every address.
            let layer = pair["layer"].as_str().unwrap();
            assert!(pair["verdict"] == "unknown" && matches!(layer, "address" | "service"), "{pair:#}");
            assert!(pair["detail"].as_str().unwrap().contains("in `services`"), "{pair:#}");
        }
        for cluster in clusters {
            let asked = cluster.requests().by_agent("terraform-provider-mesh");
            println!("requests of a look by default in {}: {}\n{}", cluster.name(), asked.len(), asked.listing());
            let writes = asked.only(|one| !matches!(one.verb.as_str(), "get" | "list") && !is_harmless(one));
            assert!(writes.is_empty(), "{}", writes.listing());
            assert!(asked.len() <= 16, "{}", asked.listing());
        }
    }
}

/// A token that is in no object, and a way into a Pod.
fn is_harmless(request: &lab::Request) -> bool {
    let path = request.uri.split('?').next().unwrap_or_default();
    request.verb == "create" && (path.ends_with("/token") || path.ends_with("/portforward"))
}

/// One layer after another is broken, named and mended. All in the cluster that is called, unless said otherwise.
pub fn each_break_is_named(run: &Run<'_>, look: &Looking<'_>, orders: &RealPod) {
    let (east, west) = (look.run.lab.cluster("east"), look.run.lab.cluster("west"));
    let gateway = |replicas: &str| {
        west.kubectl(&["scale", "deployment", "istio-eastwestgateway", "-n", "istio-system", replicas]).unwrap();
    };
    gateway("--replicas=0");
    look.names(orders, "gateway", "no Pod of the gateway in west", Some("has no Pod that is ready"));
    run.settled(); // replicas are an autoscaler's
    gateway("--replicas=1");
    let is_ready = || {
        let deployment = west.get(&["-n", "istio-system", "deployment", "istio-eastwestgateway"]).unwrap().unwrap();
        deployment["status"]["readyReplicas"] == 1
    };
    west.wait_until("a Pod of the gateway", is_ready).unwrap();
    is_answered(orders, look.port, "west/cart");

    let service = west.get(&["service", "istio-eastwestgateway", "-n", "istio-system"]).unwrap().unwrap();
    let at = service["spec"]["ports"].as_array().unwrap().iter().position(|port| port["port"] == 15443).unwrap();
    let at = format!("/spec/ports/{at}/port");
    let gateway = ["service", "istio-eastwestgateway"];
    put_port(west, &gateway, &at, 15444);
    let dialled = "other networks dial its port 15443";
    look.names(orders, "link", "knows no gateway of network net-west", Some(dialled));
    plans(run, "15444");
    put_port(west, &gateway, &at, 15443);
    is_answered(orders, look.port, "west/cart");

    let port = |number: u16| {
        let patch = json!([{ "op": "replace", "path": "/spec/ports/1/port", "value": number }]).to_string();
        west.kubectl(&["patch", "service", "cart", "-n", "traffic", "--type=json", "-p", &patch]).unwrap();
    };
    port(9009);
    look.names(orders, "port", "has no port 9000 in west", None);
    run.settled();
    port(look.port);
    is_answered(orders, look.port, "west/cart");

    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": { "name": "plain", "namespace": "traffic" },
        "spec": { "mtls": { "mode": "DISABLE" } },
    });
    for (cluster, words) in [(west, "policies in west turn mTLS off"), (east, "policies in east turn mTLS off")] {
        cluster.apply(&policy.to_string()).unwrap();
        look.names(orders, "mtls", words, Some("policies turn mTLS off"));
        let plan = run.plan();
        assert!(plan.stdout.contains("PeerAuthentication traffic/plain"), "{}", plan.stdout);
        cluster.kubectl(&["delete", "peerauthentication", "plain", "-n", "traffic"]).unwrap();
        is_answered(orders, look.port, "west/cart");
    }
}

/// A plan changes it back.
#[track_caller]
pub fn plans(run: &Run<'_>, words: &str) {
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
}

/// Changes a number of an object by hand.
pub fn put_port(cluster: &Cluster, object: &[&str], path: &str, number: u16) {
    let patch = json!([{ "op": "replace", "path": path, "value": number }]).to_string();
    let namespace = ["-n", "istio-system", "--type=json", "-p", &patch];
    cluster.kubectl(&[&["patch"], object, &namespace].concat()).unwrap();
}

/// The caller's istiod signs with another root from now on: certificates that are made now are not trusted there, nor
/// is the other side's here. Those made before go on until they end.
pub fn another_root_is_named(run: &Run<'_>, look: &Looking<'_>, orders: &RealPod) {
    let east = look.run.lab.cluster("east");
    east.kubectl(&["delete", "secret", "cacerts", "-n", "istio-system"]).unwrap();
    let before: Vec<String> = east.istiods().iter().map(|istiod| istiod.pod().to_owned()).collect();
    east.kubectl(&["delete", "pods", "-l", "app=istiod", "-n", "istio-system", "--wait=false"]).unwrap();
    let is_new = || {
        let istiods = east.istiods();
        !istiods.is_empty() && istiods.iter().all(|istiod| !before.contains(&istiod.pod().to_owned()))
    };
    east.wait_until("an istiod with a root of its own", is_new).unwrap();
    east.wait_for_istiods(1).unwrap();
    look.names(orders, "trust", "the roots of east do not vouch", Some("cacerts"));
    plans(run, "cacerts");
}
