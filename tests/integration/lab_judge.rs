//! The lab is a fair judge: with nothing of this project but the lab, and with the tools that Istio's own
//! documentation uses, two clusters become one mesh.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Lab, Options, describe};

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn two_clusters_become_a_mesh_by_istios_own_tools() {
    if let Err(error) = mesh_by_istios_own_tools() {
        panic!("{}", describe(&*error));
    }
}

fn mesh_by_istios_own_tools() -> Outcome {
    let lab = Lab::start(&["east", "west"], Options::default())?;
    let pems = lab.dir().join("pems");
    std::fs::create_dir(&pems)?;
    make_roots(&pems)?;
    for cluster in lab.clusters() {
        make_intermediate(&pems, cluster.name())?;
        install_istio(cluster, &pems)?;
    }
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    east.wait_for_istiods(1)?;
    west.wait_for_istiods(1)?;
    link(east, west)?;
    link(west, east)?;
    for cluster in [east, west] {
        let synced = || remote_clusters(cluster).is_ok_and(|text| text.matches("synced").count() == 2);
        cluster.wait_until("both clusters synced", synced)?;
    }
    assert!(remote_clusters(east)?.contains("west"), "{}", remote_clusters(east)?);

    pods_are_injected(west)?;
    invalid_gateways_are_refused(west)?;
    balancers_get_addresses(west)?;
    endpoints_reach_the_other_cluster(east, west)
}

pub fn make_roots(dir: &Path) -> Outcome {
    openssl(dir, "ecparam -name prime256v1 -genkey -noout -out root-key.pem")?;
    openssl(dir, "req -x509 -new -key root-key.pem -days 3650 -subj /O=Istio/CN=Root -out root-cert.pem")
}

pub fn make_intermediate(dir: &Path, cluster: &str) -> Outcome {
    let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,digitalSignature,keyCertSign\n\
                      subjectAltName=DNS:istiod.istio-system.svc\n";
    std::fs::write(dir.join("extensions"), extensions)?;
    openssl(dir, &format!("ecparam -name prime256v1 -genkey -noout -out {cluster}-key.pem"))?;
    openssl(
        dir,
        &format!("req -new -key {cluster}-key.pem -subj /O=Istio/CN=Intermediate/L={cluster} -out {cluster}.csr"),
    )?;
    openssl(
        dir,
        &format!(
            "x509 -req -in {cluster}.csr -CA root-cert.pem -CAkey root-key.pem -CAcreateserial -days 1800 \
             -extfile extensions -out {cluster}-cert.pem"
        ),
    )?;
    let chain = [format!("{cluster}-cert.pem"), "root-cert.pem".to_owned()];
    let chain: String = chain.iter().map(|file| std::fs::read_to_string(dir.join(file))).collect::<Result<_, _>>()?;
    Ok(std::fs::write(dir.join(format!("{cluster}-chain.pem")), chain)?)
}

fn openssl(dir: &Path, args: &str) -> Outcome {
    let output = Command::new("openssl").args(args.split_whitespace()).current_dir(dir).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("openssl {args}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

pub fn install_istio(cluster: &Cluster, pems: &Path) -> Outcome {
    let name = cluster.name();
    cluster.kubectl(&["create", "namespace", "istio-system"])?;
    let network = format!("topology.istio.io/network=net-{name}");
    cluster.kubectl(&["label", "namespace", "istio-system", &network])?;
    let file = |key: &str, file: &str| format!("--from-file={key}={}", pems.join(file).display());
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "cacerts",
        "-n",
        "istio-system",
        &file("ca-cert.pem", &format!("{name}-cert.pem")),
        &file("ca-key.pem", &format!("{name}-key.pem")),
        &file("cert-chain.pem", &format!("{name}-chain.pem")),
        &file("root-cert.pem", "root-cert.pem"),
    ])?;
    let charts = tools::charts(Istio::Current)?;
    let folder = |chart: &str| charts.folder(chart).display().to_string();
    cluster.run(Tool::Helm, &["install", "istio-base", &folder("base"), "-n", "istio-system"], None)?;
    let set = format!(
        "global.meshID=mesh1,global.multiCluster.clusterName={name},global.network=net-{name},\
         meshConfig.accessLogFile=/dev/stdout"
    );
    cluster.run(
        Tool::Helm,
        &["install", "istiod", &folder("istiod"), "-n", "istio-system", "--set", &set, "--wait", "--timeout", "3m"],
        None,
    )?;
    Ok(())
}

/// Lets `watcher`'s istiod read `watched`.
pub fn link(watched: &Cluster, watcher: &Cluster) -> Outcome {
    let name = format!("--name={}", watched.name());
    let secret = watched.run(Tool::Istioctl, &["create-remote-secret", &name], None)?;
    watcher.apply(&secret)?;
    Ok(())
}

fn remote_clusters(cluster: &Cluster) -> Result<String, lab::Error> {
    cluster.run(Tool::Istioctl, &["remote-clusters"], None)
}

fn pods_are_injected(cluster: &Cluster) -> Outcome {
    cluster.kubectl(&["create", "namespace", "shop"])?;
    cluster.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"])?;
    cluster.wait_until("a service account", || {
        cluster.get(&["serviceaccount", "default", "-n", "shop"]).is_ok_and(|account| account.is_some())
    })?;
    cluster.kubectl(&["run", "cart", "-n", "shop", "--image=cart", "--labels=app=cart", "--port=8080"])?;
    let pod = cluster.get(&["pod", "cart", "-n", "shop"])?.ok_or("the pod is gone")?;
    let spec = pod["spec"].to_string();
    for (variable, value) in [("ISTIO_META_CLUSTER_ID", "west"), ("ISTIO_META_NETWORK", "net-west")] {
        let wanted = serde_json::json!({ "name": variable, "value": value }).to_string();
        assert!(spec.contains(&wanted), "{variable} is not {value} in {spec}");
    }
    Ok(())
}

fn invalid_gateways_are_refused(cluster: &Cluster) -> Outcome {
    let gateway = |port: u32| {
        let port = serde_json::json!({ "number": port, "name": "http", "protocol": "HTTP" });
        let gateway = serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "door", "namespace": "shop" },
            "spec": { "servers": [{ "port": port, "hosts": ["*"] }] },
        });
        gateway.to_string()
    };
    // The webhook begins to refuse some moments after istiod is ready: it first proves itself.
    cluster.wait_until("an invalid Gateway to be refused", || match cluster.apply(&gateway(99999)) {
        Ok(_) => false,
        Err(error) => error.to_string().contains("validation.istio.io"),
    })?;
    cluster.apply(&gateway(8080))?;
    Ok(())
}

fn balancers_get_addresses(cluster: &Cluster) -> Outcome {
    cluster.kubectl(&["create", "service", "loadbalancer", "door", "--tcp=15443:15443", "-n", "shop"])?;
    cluster.wait_until("an address", || {
        let service = cluster.get(&["service", "door", "-n", "shop"]).ok().flatten().unwrap_or_default();
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    })?;
    Ok(())
}

/// A Service of `west` alone is known to `east`'s istiod, with the pod's address.
fn endpoints_reach_the_other_cluster(east: &Cluster, west: &Cluster) -> Outcome {
    west.kubectl(&["expose", "pod", "cart", "-n", "shop", "--port=80", "--target-port=8080"])?;
    let mut ip = String::new();
    west.wait_until("the pod's address", || {
        let pod = west.get(&["pod", "cart", "-n", "shop"]).ok().flatten().unwrap_or_default();
        ip = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        !ip.is_empty()
    })?;
    let mut shards = String::new();
    let waited = east.wait_until("the other cluster's endpoint", || {
        let asked = east.run(Tool::Istioctl, &["x", "internal-debug", "endpointShardz"], None);
        shards = asked.unwrap_or_else(|error| error.to_string());
        std::thread::sleep(Duration::from_millis(200));
        shards.contains(&ip) && shards.contains("cart.shop.svc.cluster.local")
    });
    waited.map_err(|error| format!("{error}: {ip} is not in {shards}").into())
}
