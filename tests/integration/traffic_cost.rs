//! `make mtls-cost`: what mTLS costs a call, within a network and from one network to another, by real proxies; writes
//! docs/guides/mtls-cost.md. Figures only: nothing is asserted but that every call arrives, and by the way that is
//! measured.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::tools::Istio;
use lab::traffic::RealPod;
use lab::{Lab, Proxies};
use serde_json::json;

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{arrives, door, envoy_version, host, is_answered, lab, workload};

/// The ways take turns, so that whatever else the machine does meets all of them.
const ROUNDS: usize = 5;
const REQUESTS: usize = 400;
const CONNECTIONS: usize = 200;
/// Not counted: connections between proxies open, caches fill.
const WARM_UP: usize = 50;

/// From one Pod to another.
struct Way<'a> {
    name: &'static str,
    server: &'a RealPod,
    port: u16,
    /// Whose proxies work for a call.
    proxies: Vec<(&'static str, &'a RealPod)>,
    requests: Measured,
    connections: Measured,
}

/// What calls took.
#[derive(Default)]
struct Measured {
    latencies: Vec<Duration>,
    /// Of each of the proxies.
    cpu: Vec<Duration>,
}

#[test]
#[ignore = "takes minutes, and measures: make mtls-cost"]
fn cost_of_mtls() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, "multi-primary-two-networks");
    run.apply().ok();
    let client = workload(&lab, "orders", 9001, "east");
    let (plain, near, far) = servers(&lab);
    let gateway = lab.cluster("west").real_pod("istio-system", ("app", "istio-eastwestgateway")).expect("a gateway");
    check(&lab, &client, (&plain, &near, &far));
    let ends = |server| vec![("client", &client), ("server", server)];
    let way = |name, server, port, proxies| Way {
        name,
        server,
        port,
        proxies,
        requests: Measured::default(),
        connections: Measured::default(),
    };
    let mut ways = [
        way("within a network, without mTLS", &plain, 9003, ends(&plain)),
        way("within a network, with mTLS", &near, 9002, ends(&near)),
        way("to another network, with mTLS", &far, 9000, [ends(&far), vec![("gateway", &gateway)]].concat()),
    ];
    for _ in 0..ROUNDS {
        ways.iter_mut().for_each(|way| way.measure(&client));
    }
    let text = page(&ways);
    println!("{text}");
    if std::env::var_os("MESH_COST_PAGE").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/mtls-cost.md"), text).expect("the page");
    }
    run.destroy().ok();
}

/// One beside the client that nobody speaks mTLS to, one beside it, and one in the other network.
fn servers(lab: &Lab) -> (RealPod, RealPod, RealPod) {
    let plain = workload(lab, "notes", 9003, "east");
    let off = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": { "name": "notes", "namespace": "traffic" },
        "spec": { "host": host("notes"), "trafficPolicy": { "tls": { "mode": "DISABLE" } } },
    });
    lab.cluster("east").apply(&off.to_string()).expect("a rule");
    (plain, workload(lab, "parcels", 9002, "east"), workload(lab, "cart", 9000, "west"))
}

/// Each call goes the way that is measured.
fn check(lab: &Lab, client: &RealPod, (plain, near, far): (&RealPod, &RealPod, &RealPod)) {
    for (server, port) in [(plain, 9003), (near, 9002), (far, 9000)] {
        let by = format!("{}/{}", server.cluster, server.name);
        arrives(client, &host(&server.name), 80, &by);
        is_answered(client, port, &by);
    }
    // The rule has reached the client's proxy.
    std::thread::sleep(Duration::from_secs(5));
    let shown = |server: &RealPod| {
        let answer = arrives(client, &host(&server.name), 80, &format!("{}/{}", server.cluster, server.name));
        (answer.server.is_some(), answer.endpoint)
    };
    assert!(!shown(plain).0, "mTLS, where there is to be none");
    assert!(shown(near).0, "no mTLS");
    assert_eq!(shown(far), (true, Some(door(lab.cluster("west")))));
}

impl Way<'_> {
    fn measure(&mut self, client: &RealPod) {
        let mut connection = Connection::open(client, &host(&self.server.name));
        (0..WARM_UP).for_each(|_| _ = connection.ask());
        let before = self.cpu();
        self.requests.latencies.extend((0..REQUESTS).map(|_| connection.ask()));
        self.requests.spend(before, self.cpu());

        let (by, port) = (format!("{}/{}", self.server.cluster, self.server.name), self.port);
        let exchange = || {
            let begun = Instant::now();
            assert_eq!(client.talk(port).expect("an answer"), by);
            begun.elapsed()
        };
        let before = self.cpu();
        self.connections.latencies.extend((0..CONNECTIONS).map(|_| exchange()));
        self.connections.spend(before, self.cpu());
    }

    /// What its proxies have used so far.
    fn cpu(&self) -> Vec<Duration> {
        self.proxies.iter().map(|(_, pod)| used(pod)).collect()
    }
}

impl Measured {
    fn spend(&mut self, before: Vec<Duration>, after: Vec<Duration>) {
        self.cpu.resize(after.len(), Duration::ZERO);
        for (sum, (before, after)) in self.cpu.iter_mut().zip(before.into_iter().zip(after)) {
            *sum += after.saturating_sub(before);
        }
    }

    /// So many of a hundred took no longer.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
        sorted[at].as_secs_f64() * 1000.0
    }

    fn micros_each(&self, proxy: usize) -> f64 {
        self.cpu[proxy].as_secs_f64() * 1e6 / self.latencies.len() as f64
    }
}

/// A connection of a Pod's application to its own proxy, kept for many requests.
struct Connection {
    stream: TcpStream,
    request: String,
    rest: Vec<u8>,
}

impl Connection {
    fn open(pod: &RealPod, host: &str) -> Connection {
        let stream = pod.connect("127.0.0.1:80").expect("the proxy");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        Connection { stream, request: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), rest: Vec::new() }
    }

    /// How long until the whole answer was there.
    fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        self.stream.write_all(self.request.as_bytes()).expect("the proxy takes it");
        loop {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 200"), "{text}");
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= length.expect("a length") {
                    self.rest.clear();
                    return begun.elapsed();
                }
            }
            let mut part = [0; 4096];
            let count = self.stream.read(&mut part).expect("an answer");
            assert!(count > 0, "the proxy has closed: {text}");
            self.rest.extend_from_slice(&part[..count]);
        }
    }
}

/// The CPU time of a Pod's Envoy, which is known by the log that it writes to.
fn used(pod: &RealPod) -> Duration {
    let log = fs::canonicalize(&pod.log).expect("a log");
    let writes_there = |process: &Path| fs::read_link(process.join("fd/2")).is_ok_and(|to| to == log);
    let is_envoy =
        |process: &Path| fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim().starts_with("envoy"));
    let processes = fs::read_dir("/proc").expect("processes").filter_map(|entry| Some(entry.ok()?.path()));
    let envoy = processes.into_iter().find(|process| is_envoy(process) && writes_there(process));
    let stat = fs::read_to_string(envoy.unwrap_or_else(|| panic!("{} has no Envoy", pod.name)).join("stat"))
        .expect("its times");
    // Behind the name, which may hold anything: the 14th and 15th of all fields.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn page(ways: &[Way<'_>]) -> String {
    let mut text = format!(
        "---\n\
         # Written by `make mtls-cost`.\n\
         page_title: \"What mTLS costs\"\n\
         subcategory: \"\"\n\
         description: |-\n  \
           Latency and CPU of calls without mTLS, with it, and through an east-west gateway, measured with real proxies.\n\
         ---\n\n\
         # What mTLS costs\n\n\
         Between networks there is no call without mTLS: the gateway finds the Service by the server name of the TLS connection, and passes the connection on unread.\n\
         Within a network mTLS can be turned off. So there are three ways to compare.\n\n\
         Written by `make mtls-cost` with Istio {} and Envoy {} on {}. The load of the machine was {} when it ended.\n",
        Istio::Current.version(),
        envoy_version(),
        crate::bench::machine(),
        load()
    );
    let _ = write!(
        text,
        "\n## Requests over a connection that is kept\n\n\
         One client sends a request after the other: {} for each way. Proxies keep their connections, so that no handshake is in these figures.\n",
        ways[0].requests.latencies.len()
    );
    table(&mut text, ways, |way| &way.requests);
    let _ = write!(
        text,
        "\n## New connections\n\n\
         Each call is a TCP connection of its own: {} for each way. With mTLS each has a handshake between the proxies of client and server. The gateway takes no part in it.\n",
        ways[0].connections.latencies.len()
    );
    table(&mut text, ways, |way| &way.connections);
    text.push_str(
        "\n## How to read it\n\n\
         - **p50 and p95** are milliseconds: half of the calls, and 95 of a hundred, took no longer.\n\
         - **CPU** is microseconds of the proxy's processor time for each call. The gateway is the one of the network that is called.\n\
         - All Pods are network namespaces of one machine. The way between two machines is not in the figures. In a cloud it is often the larger part of a call to another network.\n\
         - The applications answer a few hundred bytes. Larger bodies cost more encryption.\n\
         - Where the load is higher than the number of cores, calls wait for a core as well. p95 then says more about the machine than about mTLS.\n\
         - Calls come one at a time. Queues under load are not in the figures.\n\
         - Envoy is the release of its own project, without Istio's filters for metrics.\n\
         - The second table includes the lab's own work for each connection, which is the same for all ways. Compare rows, and take no row as it is.\n\n\
         The three ways take turns in five rounds, so that other work on the machine meets all of them. `mtls` of `mesh_primary` turns mTLS off or demands it.\n",
    );
    text
}

fn table(text: &mut String, ways: &[Way<'_>], of: for<'a> fn(&'a Way<'_>) -> &'a Measured) {
    text.push_str(
        "\n| way | p50 | p95 | CPU client | CPU server | CPU gateway |\n| --- | --: | --: | --: | --: | --: |\n",
    );
    for way in ways {
        let measured = of(way);
        let cpu = |name: &str| {
            let at = way.proxies.iter().position(|(proxy, _)| *proxy == name);
            at.map_or_else(String::new, |at| format!("{:.0} µs", measured.micros_each(at)))
        };
        let (p50, p95) = (measured.percentile(50), measured.percentile(95));
        let (client, server, gateway) = (cpu("client"), cpu("server"), cpu("gateway"));
        let _ = writeln!(text, "| {} | {p50:.2} ms | {p95:.2} ms | {client} | {server} | {gateway} |", way.name);
    }
}

/// Of the last minute, by the kernel.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
