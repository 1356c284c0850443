//! The lab's clusters behave as clusters do, and go wrong when asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lab::tools::{self, Tool};
use lab::{Address, Cluster, Fault, Lab, Options, describe};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn clusters_behave_as_clusters_do_and_fail_when_asked() {
    let outcome = (|| -> Outcome {
        let longest_token = Some(Duration::from_secs(600));
        let lab = Lab::start(&["one", "two"], Options { longest_token, ..Options::default() })?;
        let one = lab.cluster("one");
        pods_run_and_namespaces_go(one)?;
        objects_are_told_as_kubectl_tells_them(one)?;
        balancers_get_what_was_asked_for(one)?;
        port_forward_reaches_a_process(one)?;
        requests_are_counted(one)?;
        requests_fail_slow_down_and_break(one)?;
        tokens_are_cut_short(one)?;
        tokens_expire(one)?;
        api_servers_stop_and_start(&lab)?;
        lab.cluster("two").destroy()?;
        assert!(lab.cluster("two").kubectl(&["get", "--raw", "/version"]).is_err());
        one.kubectl(&["get", "--raw", "/version"])?;
        Ok(())
    })();
    if let Err(error) = outcome {
        panic!("{}", describe(&*error));
    }
}

fn pods_run_and_namespaces_go(cluster: &Cluster) -> Outcome {
    cluster.kubectl(&["create", "namespace", "fleeting"])?;
    cluster.kubectl(&["create", "deployment", "web", "-n", "fleeting", "--image=web", "--replicas=2"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "-n", "fleeting", "--timeout=60s"])?;
    let token = cluster.kubectl(&["create", "token", "default", "-n", "fleeting", "--duration=10m"])?;
    assert_eq!(token.split('.').count(), 3, "no token: {token}");
    cluster.kubectl(&["delete", "namespace", "fleeting", "--timeout=60s"])?;
    Ok(())
}

/// What the lab asks an API server without kubectl: objects that are there and that are not, of a namespace that is
/// there or is not, and of the whole cluster.
fn objects_are_told_as_kubectl_tells_them(cluster: &Cluster) -> Outcome {
    cluster.kubectl(&["create", "deployment", "told", "--image=web", "--replicas=0"])?;
    cluster.wait_until("the Deployment's status", || {
        let told = cluster.get(&["deployment", "told", "-n", "default"]).ok().flatten().unwrap_or_default();
        told["status"]["observedGeneration"] == told["metadata"]["generation"]
    })?;
    for (args, there) in [
        (&["namespace", "default"][..], true),
        (&["namespaces", "nowhere"], false),
        (&["configmap", "kube-root-ca.crt", "-n", "default"], true),
        (&["-n", "default", "deployments", "told"], true),
        (&["service", "kubernetes", "-n", "default"], true),
        (&["serviceaccount", "nobody", "-n", "default"], false),
        (&["secret", "nothing", "-n", "nowhere"], false),
        (&["lease", "nothing", "-n", "default"], false),
    ] {
        let told = cluster.get(args)?;
        let all: Vec<&str> = ["get", "-o", "json", "--ignore-not-found"].iter().chain(args).copied().collect();
        let by_kubectl: Option<serde_json::Value> = serde_json::from_str(&cluster.kubectl(&all)?).ok();
        assert_eq!(told, by_kubectl, "{args:?}");
        assert_eq!(told.is_some(), there, "{args:?}");
    }
    // kubectl does not know the kind, or lacks the name: that is an error, and not an answer.
    assert!(cluster.get(&["nonsense", "a", "-n", "default"]).is_err());
    Ok(())
}

fn balancers_get_what_was_asked_for(cluster: &Cluster) -> Outcome {
    let ingress = |name: &str| {
        let service = cluster.get(&["service", name]).ok().flatten().unwrap_or_default();
        service["status"]["loadBalancer"]["ingress"][0].clone()
    };
    let make = |name: &str, address: &str| {
        let service = serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "annotations": { "lab/address": address } },
            "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
        });
        cluster.apply(&service.to_string())
    };
    make("by-ip", "ip")?;
    make("by-name", "hostname")?;
    make("late", "ip after 3s")?;
    make("never", "never")?;
    cluster.wait_until("an IP address", || ingress("by-ip")["ip"].is_string())?;
    cluster.wait_until("a hostname", || ingress("by-name")["hostname"].is_string())?;
    cluster.set_address(Address::Never);
    cluster.kubectl(&["create", "service", "loadbalancer", "by-default", "--tcp=80:80"])?;
    cluster.wait_until("a late address", || ingress("late")["ip"].is_string())?;
    assert!(ingress("never").is_null());
    assert!(ingress("by-default").is_null());
    Ok(())
}

fn port_forward_reaches_a_process(cluster: &Cluster) -> Outcome {
    cluster.kubectl(&["run", "echo", "--image=echo"])?;
    cluster.kubectl(&["wait", "pod/echo", "--for=condition=Ready", "--timeout=60s"])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    cluster.serve_pod_port("default", "echo", "10.10.150.1", 7, listener.local_addr()?.port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"hello from the pod");
        }
    });
    let forward = Forward::start(cluster, "pod/echo", 7)?;
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", forward.port))?.read_to_string(&mut text)?;
    assert_eq!(text, "hello from the pod");
    Ok(())
}

fn requests_are_counted(cluster: &Cluster) -> Outcome {
    cluster.reset_requests();
    cluster.kubectl(&["get", "configmaps"])?;
    // The log is written a little later: a line that is not there yet would count with those to come.
    let asked = || cluster.requests().by_agent("kubectl").by_resource("configmaps").by_verb("list");
    cluster.wait_until("the audit log", || !asked().is_empty())?;
    cluster.reset_requests();
    cluster.kubectl(&["get", "configmaps"])?;
    cluster.wait_until("the audit log", || !cluster.requests().by_resource("configmaps").is_empty())?;
    let asked = cluster.requests().by_agent("kubectl").by_resource("configmaps");
    assert_eq!(asked.by_verb("list").len(), 1, "{}", asked.listing());
    Ok(())
}

fn requests_fail_slow_down_and_break(cluster: &Arc<Cluster>) -> Outcome {
    let get = || cluster.kubectl(&["get", "--raw", "/api/v1/namespaces/default"]);
    cluster.fault(Fault::status(503).times(1).for_request("GET /api/v1/namespaces/default"))?;
    let refused = get().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("503"), "not refused with 503: {refused}");
    get()?; // once was asked for
    cluster.fault(Fault::status(500).for_agent("somebody-else"))?;
    get()?;
    cluster.clear_faults()?;

    cluster.fault(Fault::slow(Duration::from_millis(1500)))?;
    let began = Instant::now();
    get()?;
    assert!(began.elapsed() >= Duration::from_millis(1500));
    cluster.clear_faults()?;

    cluster.fault(Fault::cut())?;
    assert!(get().is_err(), "an answer that was cut off was taken for whole");
    cluster.clear_faults()?;

    cluster.fault(Fault::unreachable())?;
    let refused = get().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("refused"), "{refused}");
    cluster.clear_faults()?;
    get().map(drop).map_err(Into::into)
}

fn tokens_are_cut_short(cluster: &Cluster) -> Outcome {
    let token = cluster.kubectl(&["create", "token", "default", "--duration=24h"])?;
    let payload = token.split('.').nth(1).unwrap_or_default();
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    let life = claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat);
    assert_eq!(life, Some(600), "{claims}");
    Ok(())
}

fn tokens_expire(cluster: &Arc<Cluster>) -> Outcome {
    let token = cluster.kubectl(&["create", "token", "default"])?;
    let with_token = || {
        let token = format!("--token={}", token.trim());
        let server = format!("--server={}", cluster.server());
        let kubectl = tools::path(Tool::Kubectl).map_err(|error| error.to_string())?;
        let output = Command::new(kubectl)
            .args(["--insecure-skip-tls-verify", &server, &token, "auth", "whoami"])
            .env("KUBECONFIG", "/dev/null")
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    };
    with_token()?;
    cluster.fault(Fault::tokens_expired())?;
    let refused = with_token().err().unwrap_or_default();
    assert!(refused.contains("logged in") || refused.contains("Unauthorized"), "{refused}");
    cluster.clear_faults()?;
    Ok(())
}

fn api_servers_stop_and_start(lab: &Lab) -> Outcome {
    let one = lab.cluster("one");
    one.fault(Fault::stopped())?;
    assert!(one.kubectl(&["get", "--raw", "/version"]).is_err());
    lab.cluster("two").kubectl(&["get", "--raw", "/version"])?;
    one.clear_faults()?;
    one.kubectl(&["get", "namespace", "default"])?;

    lab.stop_etcd();
    let asked = one.kubectl(&["get", "namespace", "default", "--request-timeout=2s"]);
    assert!(asked.is_err(), "answered without etcd");
    lab.start_etcd()?;
    one.wait_until("answers", || one.kubectl(&["get", "namespace", "default"]).is_ok())?;
    Ok(())
}

/// kubectl's port-forward, as long as it lives.
struct Forward {
    child: Child,
    port: u16,
    /// kubectl goes on writing there, and would die of nobody reading.
    _output: BufReader<ChildStdout>,
}

impl Forward {
    fn start(cluster: &Cluster, what: &str, port: u16) -> Result<Forward, Box<dyn std::error::Error>> {
        let mut child = Command::new(tools::path(Tool::Kubectl)?)
            .args(["port-forward", what, &format!(":{port}")])
            .env("KUBECONFIG", cluster.kubeconfig_path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        output.read_line(&mut line)?;
        let port = line.split(" -> ").next().and_then(|text| text.rsplit(':').next()?.parse().ok());
        Ok(Forward { child, port: port.ok_or_else(|| format!("no port in {line:?}"))?, _output: output })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
