//! Marked secrets in every place that can hold one, and a far end that sends back whatever it is given: none of them
//! stands in anything that a run prints, logs at its finest, or leaves behind.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use crate::support::cli::{Cli, Workspace, clis};
use crate::support::plugin_process::BINARY;

const SOURCE: &str = "terraform-provider-mesh/mesh";

/// How the far end answers; each sends the request's head back in it.
const ANSWERS: &[&str] = &[
    "401 page",
    "403 status",
    "404 page",
    "200 page",
    "422 status",
    "302 elsewhere",
    "200 secrets",
    "407 page",
    "200 title",
    "401 title",
    "403 text",
    "404 text",
];

/// A text that is nowhere else, too plain to be cut out for its looks.
fn mark(name: &str) -> String {
    format!("marked-{name}-q7Zt0pWx4nRk9sVb")
}

#[test]
fn no_marked_secret_comes_back() {
    let answer = Arc::new(AtomicUsize::new(0));
    let address = serve(answer.clone());
    let clis = clis();
    for (index, what) in ANSWERS.iter().enumerate() {
        answer.store(index, Ordering::SeqCst);
        // Both command lines by turns.
        let mut run = Run::new(&clis[index % clis.len()], &address);
        run.all_credentials();
        let told = run.command(&["apply", "-input=false", "-auto-approve"]);
        assert!(told.contains("Error:"), "{what}: the far end is no API server: {told}");
        run.verdict(what);
    }
    let mut run = Run::new(&clis[0], &address);
    run.in_the_wrong_places();
    run.verdict("in the wrong places");
    // The search finds what there is to be found, also where a CLI has broken the line.
    for leak in [mark("token"), BASE64_STANDARD.encode(mark("token")), mark("token").replacen("-q", "-\n│ q", 1)] {
        run.mark("token");
        run.left = vec![("a leak".to_owned(), leak.into_bytes())];
        let searched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.verdict("on purpose")));
        assert!(searched.is_err(), "a leak is not found");
    }
}

struct Run {
    workspace: Workspace,
    address: String,
    marks: BTreeMap<String, String>,
    /// What was left, by what it is called.
    left: Vec<(String, Vec<u8>)>,
}

impl Run {
    fn new(cli: &Cli, address: &str) -> Self {
        let workspace = Workspace::overriding(cli, SOURCE, Path::new(BINARY).parent().expect("a folder"));
        let marks = ["in-answers"].map(|name| (name.to_owned(), mark(name)));
        Self { workspace, address: address.to_owned(), marks: marks.into(), left: Vec::new() }
    }

    fn mark(&mut self, name: &str) -> String {
        self.marks.insert(name.to_owned(), mark(name));
        mark(name)
    }

    /// Every kind of credential, each for a cluster of its own.
    fn all_credentials(&mut self) {
        let server = format!("http://{}", self.address);
        let kubeconfig = |user: serde_json::Value, cluster: serde_json::Value| {
            let mut cluster = cluster;
            cluster["server"] = server.clone().into();
            json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "clusters": [{"name": "a", "cluster": cluster}], "users": [{"name": "a", "user": user}],
            })
        };
        std::fs::write(self.workspace.path("token"), format!("{}\n", self.mark("token-file"))).expect("a file");
        let talks = "#!/bin/sh\necho \"cannot log in with $SECRET\" >&2\nexit 1\n";
        let gives = "#!/bin/sh\nprintf '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"%s\"}}' \"$SECRET\"\n";
        for (name, script) in [("talks", talks), ("gives", gives)] {
            std::fs::write(self.workspace.path(name), script).expect("a script");
            std::fs::set_permissions(self.workspace.path(name), std::fs::Permissions::from_mode(0o700))
                .expect("it may run");
        }
        let exec = |program: &str, secret: String| {
            format!(
                "host = \"{server}\"\n      exec = {{ command = \"./{program}\", env = {{ SECRET = \"{secret}\" }} }}"
            )
        };
        let inline = |config: serde_json::Value| format!("config = {}", json!(config.to_string()));
        let folder = self.workspace.folder.path().to_owned();
        let file = |name: &str, config: serde_json::Value| {
            std::fs::write(folder.join(name), config.to_string()).expect("a kubeconfig");
            format!("config_path = \"{name}\"")
        };
        // As long as tokens are: what is quoted in short ends within it.
        let token = self.mark("token") + &"-and-so-on".repeat(150);
        let password = self.mark("password");
        let basic = BASE64_STANDARD.encode(format!("me:{password}"));
        self.marks.insert("the basic pair".to_owned(), basic);
        let exec_entry = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./talks", "interactiveMode": "Never",
            "env": [{"name": "SECRET", "value": self.mark("kubeconfig-env")}]}});
        let clusters = [
            ("token", format!("host = \"{server}\"\n      token = \"{token}\"")),
            ("password", format!("host = \"{server}\"\n      username = \"me\"\n      password = \"{password}\"")),
            ("env", exec("talks", self.mark("exec-env"))),
            ("plugin", exec("gives", self.mark("plugin-token"))),
            (
                "proxy",
                format!(
                    "host = \"http://api.invalid\"\n      token = \"{}\"\n      proxy_url = \"http://me:{}@{}\"",
                    self.mark("behind-proxy"),
                    self.mark("proxy-password"),
                    self.address
                ),
            ),
            ("kubeconfig", inline(kubeconfig(json!({"token": self.mark("kubeconfig-token")}), json!({})))),
            (
                "basic",
                file(
                    "basic.json",
                    kubeconfig(json!({"username": "me", "password": self.mark("kubeconfig-password")}), json!({})),
                ),
            ),
            ("tokenfile", file("file.json", kubeconfig(json!({"tokenFile": "token"}), json!({})))),
            ("execentry", file("exec.json", kubeconfig(exec_entry, json!({})))),
            (
                "oidc",
                file(
                    "oidc.json",
                    kubeconfig(
                        json!({"auth-provider": {"name": "oidc", "config": {
                "id-token": self.mark("id-token"), "refresh-token": self.mark("refresh-token"), "client-secret": self.mark("client-secret"), "client-id": "a", "idp-issuer-url": server}}}),
                        json!({}),
                    ),
                ),
            ),
            (
                "keydata",
                file(
                    "key.json",
                    kubeconfig(
                        json!({"client-certificate-data": "bm9uZQ==", "client-key-data": BASE64_STANDARD.encode(self.mark("key-data"))}),
                        json!({}),
                    ),
                ),
            ),
            (
                "proxyentry",
                file(
                    "proxy.json",
                    kubeconfig(
                        json!({"token": self.mark("entry-token")}),
                        json!({"proxy-url": format!("http://me:{}@{}", self.mark("entry-proxy"), self.address)}),
                    ),
                ),
            ),
        ];
        let listed: String =
            clusters.iter().map(|(name, entry)| format!("    {name} = {{\n      {entry}\n    }}\n")).collect();
        let charts = format!(
            "charts = {{ repository = \"{server}\", username = \"me\", password = \"{}\" }}",
            self.mark("chart-password")
        );
        self.workspace.configure(&format!(
            "terraform {{\n  required_providers {{\n    mesh = {{ source = \"{SOURCE}\" }}\n  }}\n}}\n\nprovider \"mesh\" {{\n  clusters = {{\n{listed}  }}\n  {charts}\n}}\n{RESOURCES}"
        ));
    }

    /// A secret where there is no place for one: refused, and not quoted.
    fn in_the_wrong_places(&mut self) {
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let body: String = key.lines().nth(1).expect("a line of the key").to_owned();
        self.marks.insert("a private key".to_owned(), body);
        let url = |run: &mut Run, name: &str| format!("https://me:{}@a.example/x", run.mark(name));
        let bodies = [
            format!(
                "provider \"mesh\" {{\n  clusters = {{ east = {{ host = \"{}\" }} }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                url(self, "in-host")
            ),
            format!(
                "provider \"mesh\" {{\n  clusters = {{ east = {{ host = \"a\", token = \"{} \" }} }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                self.mark("token-with-space")
            ),
            format!(
                "provider \"mesh\" {{\n  clusters = {{ east = {{ host = \"a\", client_certificate = {}, client_key = {} }} }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                json!(key),
                json!(format!("x{}", self.mark("no-key")))
            ),
            format!(
                "provider \"mesh\" {{\n  clusters = {{ east = {{ config = {} }} }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                json!(format!(
                    "apiVersion: v1\nusers: [{{name: a, user: {{token: '{}}}}}\n",
                    self.mark("broken-kubeconfig")
                ))
            ),
            format!(
                "provider \"mesh\" {{\n  charts = {{ repository = \"{}\" }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                url(self, "in-repository")
            ),
            format!(
                "resource \"mesh_remote_cluster\" \"x\" {{\n  cluster = \"a\"\n  watchers = [\"b\"]\n  proxy_url = \"{}\"\n}}\n",
                url(self, "in-proxy")
            ),
            format!(
                "resource \"mesh_remote_cluster\" \"x\" {{\n  cluster = \"a\"\n  watchers = [\"b\"]\n  proxy_url = \"me:{}@a:3128\"\n}}\n",
                self.mark("in-bare-proxy")
            ),
            format!(
                "resource \"mesh_remote_cluster\" \"x\" {{\n  cluster = \"a\"\n  watchers = [\"b\"]\n  server = \"{}\"\n}}\n",
                url(self, "in-server")
            ),
            format!(
                "resource \"mesh_remote_cluster\" \"x\" {{\n  cluster = \"a\"\n  watchers = [\"b\"]\n  server = \"http://me:{}@a\"\n}}\n",
                self.mark("in-plain-server")
            ),
            format!(
                "provider \"mesh\" {{\n  charts = {{ repository = \"https:///me:{}@a.example/x\" }}\n}}\ndata \"mesh_status\" \"x\" {{}}\n",
                self.mark("behind-a-third-slash")
            ),
            format!(
                "resource \"mesh_remote_cluster\" \"x\" {{\n  cluster = \"a\"\n  watchers = [\"b\"]\n  certificate_authority = {}\n}}\n",
                json!(key)
            ),
            format!(
                "resource \"mesh_ca\" \"x\" {{\n  root = {{ certificate = {}, private_key_wo = \"{}\" }}\n  clusters = {{ a = {{}} }}\n}}\n",
                json!(key),
                self.mark("no-root-key")
            ),
            format!(
                "output \"x\" {{\n  value = provider::mesh::parse_remote_secret(\"kind: Config\\nusers: [{{user: {{token: {}\")\n}}\n",
                self.mark("broken-secret")
            ),
        ];
        for body in bodies {
            self.workspace.configure(&format!(
                "terraform {{\n  required_providers {{\n    mesh = {{ source = \"{SOURCE}\" }}\n  }}\n}}\n\n{body}"
            ));
            let told = self.command(&["plan", "-input=false"]);
            // The core quotes the line of the configuration that an error is about, with what stands in it: that is not
            // ours. Of a kubeconfig that cannot be read the status says so, and goes on.
            let is_told = told.contains("Error:") || body.contains("config = ");
            assert!(is_told, "taken: {body}: {told}");
        }
    }

    fn command(&mut self, arguments: &[&str]) -> String {
        let (said, log) = self.workspace.run_traced(arguments);
        let name = arguments.join(" ");
        self.left.push((format!("what {name} prints"), without_source(&said.stdout).into()));
        self.left.push((format!("what {name} says of errors"), without_source(&said.stderr).into()));
        // Of the core's own lines those are left out that show what it reads, as any core does.
        let ours: String = log
            .lines()
            .filter(|line| line.contains("provider.") || line.contains("@module"))
            .map(|line| format!("{line}\n"))
            .collect();
        self.left.push((format!("the log of {name}"), ours.into_bytes()));
        if let Ok(state) = std::fs::read(self.workspace.path("terraform.tfstate")) {
            self.left.push((format!("the state after {name}"), state));
        }
        format!("{}{}", said.stdout, said.stderr)
    }

    fn verdict(&self, what: &str) {
        for (name, bytes) in &self.left {
            let text = String::from_utf8_lossy(bytes);
            let flat: String = text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect();
            for (mark, secret) in &self.marks {
                for shape in
                    [secret.clone(), BASE64_STANDARD.encode(secret).trim_end_matches('=').to_owned(), hex(secret)]
                {
                    let at = text
                        .find(&shape)
                        .map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
                    assert!(
                        at.is_none() && !flat.contains(&shape),
                        "{what}: {mark} stands in {name}: {}",
                        at.unwrap_or_default()
                    );
                }
            }
        }
    }
}

/// What a CLI prints without the lines of the configuration that it quotes.
fn without_source(text: &str) -> String {
    let is_source = |line: &&str| {
        let rest = line.trim_start_matches(['│', ' ']);
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        !number.is_empty() && rest[number.len()..].starts_with(':')
    };
    text.lines().filter(|line| !is_source(line)).map(|line| format!("{line}\n")).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

const RESOURCES: &str = r#"
locals {
  all = toset(["token", "password", "env", "plugin", "proxy", "kubeconfig", "basic", "tokenfile", "execentry", "oidc", "keydata", "proxyentry"])
}

data "mesh_status" "all" {
  clusters = local.all
}

output "all" { value = data.mesh_status.all }

resource "mesh_service_entry" "each" {
  for_each  = local.all
  cluster   = each.key
  host      = "cart.shop.global"
  ports     = { http = { number = 80 } }
  exporters = { a = { cluster = each.key, namespace = "shop", service = "cart", service_accounts = ["cart"], gateways = [{ value = "192.0.2.9" }], expose = true } }
  timeouts  = { create = "6s" }
}

resource "mesh_ca" "each" {
  for_each = local.all
  root     = { store = { cluster = each.key, name = "root-${each.key}", readable_by_watchers = true } }
  clusters = { (each.key) = { namespace = "ca-${each.key}" } }
  timeouts = { create = "6s" }
}

resource "mesh_primary" "charts" {
  cluster  = "token"
  mesh_id  = "mesh1"
  timeouts = { create = "6s" }
}
"#;

/// A server that puts what it was sent into what it answers.
fn serve(answer: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || converse(stream, &answer));
        }
    });
    address
}

/// What a request brings along to be let in.
fn credential(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default()
}

fn converse(mut stream: TcpStream, answer: &AtomicUsize) -> Option<()> {
    let mut buffer = [0; 65_536];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let (status, rest) = ANSWERS[answer.load(Ordering::SeqCst)].split_once(' ')?;
        let secret = BASE64_STANDARD.encode(mark("in-answers"));
        let config = BASE64_STANDARD.encode(format!("users: [{{name: a, user: {{token: {}}}}}]", mark("in-answers")));
        let (kind, body) = match rest {
            "status" => ("application/json", json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.parse::<u16>().ok(), "reason": "Forbidden", "message": format!("no: {request}")}).to_string()),
            "secrets" => ("application/json", json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [
                {"metadata": {"name": "cacerts", "namespace": "istio-system"}, "data": {"ca-key.pem": secret, "ca-cert.pem": secret, "root-cert.pem": secret, "cert-chain.pem": secret}},
                {"metadata": {"name": "istio-remote-secret-a", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}, "data": {"a": config}},
            ]}).to_string()),
            "title" => ("text/html", format!("<html><title>Welcome {}</title>", credential(&request))),
            "text" => ("text/plain", format!("nothing for {}", credential(&request))),
            _ => ("text/html", format!("<html><body>{request}</body></html>")),
        };
        let location = if status == "302" {
            format!("location: http://127.0.0.1:9/?{}\r\n", request.len())
        } else {
            String::new()
        };
        let head = format!(
            "HTTP/1.1 {status} Odd\r\n{location}content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    }
}
