//! Charts fetched from real servers on loopback: Helm repositories, OCI registries, proxies, TLS, and what goes wrong.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use sha2::Digest as _;
use terraform_provider_mesh::source::{Credentials, Error, Location, Manifests, Request, Sources};

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_version_is_fetched_once_and_then_needs_no_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = repository(&archive("1.0.0"), None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let request = request(&location, Some("1.0.0"));
    let fetched = Sources::with_cache(Some(cache.path().into())).chart(&request).await.unwrap();
    assert_eq!((fetched.name(), fetched.version()), ("demo", "1.0.0"));
    assert_eq!(server.paths(), ["/charts/index.yaml", "/charts/demo-1.0.0.tgz"]);
    server.stop();
    let again = Sources::with_cache(Some(cache.path().into())).chart(&request).await.unwrap();
    assert_eq!(again.version(), "1.0.0");
    let nowhere = Sources::with_cache(None).chart(&request).await.unwrap_err();
    assert!(nowhere.is_transient(), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_loads_a_chart_once_however_many_ask() {
    let server = repository(&archive("1.0.0"), None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let sources = Sources::with_cache(None);
    let request = request(&location, Some("1.0.0"));
    let (a, b, c) = tokio::join!(sources.chart(&request), sources.chart(&request), sources.chart(&request));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_match_its_digest_is_refused() {
    let bytes = archive("1.0.0");
    for (digest, tampered) in [("a".repeat(64), true), ("0".repeat(64), false)] {
        let server = repository(&bytes, Some(&digest));
        let location = Location::parse(&server.url("/charts")).unwrap();
        let error = Sources::with_cache(None).chart(&request(&location, Some("1.0.0"))).await.unwrap_err();
        // Without quotes, digits alone are a number in YAML.
        assert!(
            if tampered { matches!(error, Error::Tampered { .. }) } else { matches!(error, Error::Digest(_)) },
            "{error}"
        );
    }
    let sources = Sources::with_cache(None);
    let server = repository(&bytes, None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let wrong = format!("sha256:{}", "1".repeat(64));
    let error = sources.chart(&Request { digest: Some(&wrong), ..request(&location, None) }).await.unwrap_err();
    assert!(matches!(error, Error::Tampered { .. }), "{error}");
    let right = format!("sha256:{}", sha256(&bytes));
    sources.chart(&Request { digest: Some(&right), ..request(&location, None) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_archive_is_refused() {
    let bytes = archive("1.0.0");
    let server = repository(&bytes[..bytes.len() - 20], None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let error = Sources::with_cache(None).chart(&request(&location, Some("1.0.0"))).await.unwrap_err();
    assert!(matches!(error, Error::Chart { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_version_names_those_there_are() {
    let server = repository(&archive("1.0.0"), None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let sources = Sources::with_cache(None);
    let error = sources.chart(&request(&location, Some("9.9.9"))).await.unwrap_err();
    assert!(error.to_string().contains("no version 9.9.9 of chart demo; it has 1.0.0"), "{error}");
    let error = sources.chart(&Request { name: "other", ..request(&location, None) }).await.unwrap_err();
    assert!(matches!(error, Error::NoChart { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_their_host_only_and_are_never_shown() {
    let elsewhere = Server::start({
        let bytes = archive("1.0.0");
        move |_| Reply::ok(bytes.clone())
    });
    let index = index(&elsewhere.url("/demo.tgz"), None);
    let server = Server::start(move |request| {
        if request.header("authorization") == Some(&format!("Basic {}", base64("user:secret"))) {
            Reply::ok(index.clone().into_bytes())
        } else {
            Reply::status(401)
        }
    });
    let location = Location::parse(&server.url("/")).unwrap();
    let sources = Sources::with_cache(None);
    let refused = sources.chart(&request(&location, None)).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { status: 401, .. }), "{refused}");
    let credentials = Credentials { username: "user".into(), password: "secret".into() };
    let asked = Request { credentials: Some(&credentials), ..request(&location, None) };
    sources.chart(&asked).await.unwrap();
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(!format!("{asked:?}").contains("secret"));
    let written_in = server.url("/").replace("http://", "http://user:secret@");
    let location = Location::parse(&written_in).unwrap();
    server.stop();
    let error = Sources::with_cache(None).chart(&request(&location, None)).await.unwrap_err();
    assert!(!format!("{error} {error:?} {location}").contains("secret"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_server_is_asked_again() {
    let bytes = archive("1.0.0");
    let index = index("demo.tgz", None);
    let count = Mutex::new(0);
    let server = Server::start(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match (*count, request.path.as_str()) {
            (1 | 2, _) => Reply::status(503),
            (_, "/index.yaml") => Reply::ok(index.clone().into_bytes()),
            _ => Reply::ok(bytes.clone()),
        }
    });
    let location = Location::parse(&server.url("/")).unwrap();
    Sources::with_cache(None).chart(&request(&location, None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gives_its_chart_for_a_token() {
    let server = registry(archive("1.0.0+build"), "1.0.0_build");
    let location = Location::parse(&server.url("/team/charts").replace("http://", "oci://")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let credentials = Credentials { username: "user".into(), password: "secret".into() };
    for version in [None, Some("1.0.0+build")] {
        let sources = Sources::with_cache(Some(cache.path().into()));
        let asked = Request { credentials: Some(&credentials), ..request(&location, version) };
        assert_eq!(sources.chart(&asked).await.unwrap().version(), "1.0.0+build");
    }
    server.stop();
    let sources = Sources::with_cache(Some(cache.path().into()));
    let asked = Request { credentials: Some(&credentials), ..request(&location, Some("1.0.0+build")) };
    sources.chart(&asked).await.unwrap();
    // What was fetched with a credential is not handed out without one.
    let others = Sources::with_cache(Some(cache.path().into()));
    assert!(others.chart(&request(&location, Some("1.0.0+build"))).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_heals() {
    let cache = tempfile::tempdir().unwrap();
    let server = repository(&archive("1.0.0"), None);
    let location = Location::parse(&server.url("/charts")).unwrap();
    let request = request(&location, Some("1.0.0"));
    Sources::with_cache(Some(cache.path().into())).chart(&request).await.unwrap();
    for file in std::fs::read_dir(cache.path().join("sha256")).unwrap() {
        std::fs::write(file.unwrap().path(), "damage").unwrap();
    }
    Sources::with_cache(Some(cache.path().into())).chart(&request).await.unwrap();
    assert_eq!(server.paths().len(), 4);
}

/// What stands before a server may answer with a page to log in on, and with success.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_to_log_in_on_is_not_kept() {
    const PAGES: [&str; 3] = ["<html>Log in</html>", r#"{"login": "https://x"}"#, ""];
    let cache = tempfile::tempdir().unwrap();
    let seen = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.path.as_str() {
        "/charts/index.yaml" => Reply::ok(index("demo-1.0.0.tgz", None).into_bytes()),
        path => match (PAGES.get(seen.fetch_add(1, Ordering::Relaxed) % (PAGES.len() + 1)), path) {
            (Some(page), _) => Reply::ok(page.as_bytes().to_vec()),
            (None, "/gw.yaml") => Reply::ok(b"kind: Demo\n".to_vec()),
            (None, _) => Reply::ok(archive("1.0.0")),
        },
    });
    let sources = || Sources::with_cache(Some(cache.path().into()));
    let location = Location::parse(&server.url("/charts")).unwrap();
    let request = request(&location, Some("1.0.0"));
    let place = server.url("/gw.yaml");
    let manifests = Manifests { place: &place, name: "gateway-api", version: "1.0.0", digest: None };
    for page in PAGES {
        assert!(sources().chart(&request).await.is_err(), "{page}");
    }
    assert_eq!(sources().chart(&request).await.unwrap().version(), "1.0.0");
    for page in PAGES {
        assert!(sources().manifests(&manifests).await.is_err(), "{page}");
    }
    assert_eq!(sources().manifests(&manifests).await.unwrap()[0]["kind"], "Demo");

    // As an earlier version of this provider has kept it.
    let page = PAGES[0].as_bytes();
    std::fs::write(cache.path().join(format!("sha256/{}.tgz", sha256(page))), page).unwrap();
    for version in std::fs::read_dir(cache.path().join("versions")).unwrap() {
        std::fs::write(version.unwrap().path(), format!("sha256:{}\n", sha256(page))).unwrap();
    }
    let asked = server.paths().len();
    for page in PAGES {
        assert!(sources().chart(&request).await.is_err(), "{page}");
    }
    assert!(server.paths().len() > asked, "it is fetched again");
    assert_eq!(sources().chart(&request).await.unwrap().version(), "1.0.0");
    assert!(!cache.path().join(format!("sha256/{}.tgz", sha256(page))).exists(), "the page is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_cut_off() {
    let server = Server::start(|_| Reply { declared: Some(usize::MAX >> 1), ..Reply::ok(b"entries:\n".to_vec()) });
    let location = Location::parse(&server.url("/")).unwrap();
    let error = Sources::with_cache(None).chart(&request(&location, None)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn processes_share_one_cache_without_harm() {
    let cache = tempfile::tempdir().unwrap();
    let server = repository(&archive("1.0.0"), None);
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut command = template(cache.path(), &server.url("/charts"));
            std::thread::spawn(move || command.output().unwrap())
        })
        .collect();
    for child in children {
        assert_eq!(text(&child.join().unwrap()), "---\n# Source: demo/templates/a.yaml\nkind: Demo\nname: x\n");
    }
    let mut left: Vec<_> = walk(&cache.path().join("terraform-provider-mesh"));
    left.retain(|name| name.contains("unfinished"));
    assert_eq!(left, Vec::<String>::new());
    server.stop();
    assert!(template(cache.path(), &server.url("/charts")).output().unwrap().status.success());
}

#[test]
fn a_proxy_is_used_unless_excepted() {
    let target = repository(&archive("1.0.0"), None);
    let proxy = repository(&archive("1.0.0"), None);
    let cache = tempfile::tempdir().unwrap();
    let run = |no_proxy: &str| {
        let mut command = template(cache.path(), "http://charts.example/charts");
        command.env("HTTP_PROXY", proxy.url("")).env("http_proxy", proxy.url("")).env("NO_PROXY", no_proxy);
        command.output().unwrap()
    };
    assert!(run("").status.success());
    assert_eq!(proxy.paths()[0], "http://charts.example/charts/index.yaml");
    let fresh = tempfile::tempdir().unwrap();
    let mut excepted = template(fresh.path(), &target.url("/charts"));
    excepted
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1");
    assert!(excepted.output().unwrap().status.success());
}

#[test]
fn a_private_authority_is_trusted_when_the_system_is_told_so() {
    let (server, roots) = tls_server(repository_handler(&archive("1.0.0"), None));
    let folder = tempfile::tempdir().unwrap();
    let url = tls_url(&server, "/charts");
    let refused = template(folder.path(), &url).output().unwrap();
    assert!(!refused.status.success());
    let told = template(folder.path(), &url).env("SSL_CERT_FILE", roots.path()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

#[test]
fn nothing_leads_from_https_to_plain_http_without_a_digest() {
    let bytes = archive("1.0.0");
    let plain = repository(&bytes, None);
    let digest = sha256(&bytes);
    // The path says how the server leads astray: its index names the other one, or every answer sends there.
    let elsewhere = plain.url("/demo-1.0.0.tgz");
    let target = plain.url("");
    let (server, roots) = tls_server(move |request| match request.path.trim_start_matches('/').split_once('/') {
        Some(("bare", "index.yaml")) => Reply::ok(index(&elsewhere, None).into_bytes()),
        Some(("pinned", "index.yaml")) => Reply::ok(index(&elsewhere, Some(&digest)).into_bytes()),
        Some(("archive", "index.yaml")) => Reply::ok(index("demo-1.0.0.tgz", Some(&digest)).into_bytes()),
        Some((_, file)) => Reply { headers: vec![("Location", format!("{target}/{file}"))], ..Reply::status(302) },
        None => Reply::status(404),
    });
    for (how, taken) in [("bare", false), ("pinned", true), ("archive", false), ("redirected", false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = template(folder.path(), &tls_url(&server, &format!("/{how}")));
        let output = command.env("SSL_CERT_FILE", roots.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), taken, "{how}: {said}");
        assert!(taken || said.contains("which is plain http"), "{how}: {said}");
    }
    assert_eq!(plain.paths(), ["/demo-1.0.0.tgz"], "only what the index pins is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_on_this_machine_gets_no_credentials_sent_elsewhere() {
    for realm in ["http://registry.example/token", "http://10.0.0.1/token", "http://localhost.example/token"] {
        let server = Server::start(move |_| Reply {
            headers: vec![("WWW-Authenticate", format!("Bearer realm=\"{realm}\",service=\"r\""))],
            ..Reply::status(401)
        });
        let location = Location::parse(&server.url("/charts").replace("http://", "oci://")).unwrap();
        let credentials = Credentials { username: "user".into(), password: "secret".into() };
        let asked = Request { credentials: Some(&credentials), ..request(&location, Some("1.0.0")) };
        let error = Sources::with_cache(None).chart(&asked).await.unwrap_err();
        assert!(error.to_string().contains("is not safe"), "{realm}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_kept_by_the_whole_of_its_address() {
    let server = Server::start(|request| {
        let channel = request.path.split_once("channel=").map_or("standard", |(_, channel)| channel);
        Reply::ok(format!("kind: Demo\nmetadata: {{name: {channel}}}\n").into_bytes())
    });
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let sources = Sources::with_cache(Some(cache.path().into()));
        for (query, name) in [("?channel=experimental", "experimental"), ("", "standard")] {
            let place = server.url(&format!("/gw.yaml{query}"));
            let asked = Manifests { place: &place, name: "gateway-api", version: "1.0.0", digest: None };
            let objects = sources.manifests(&asked).await.unwrap();
            assert_eq!(objects[0]["metadata"]["name"], name);
        }
    }
    assert_eq!(server.paths().len(), 2);
}

/// The server with a certificate of its own, and the file of roots that trusts it.
pub fn tls_server(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Server, tempfile::NamedTempFile) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "mirror.example".to_owned()]).unwrap();
    let (certificate, private) = (key.cert.der().clone(), key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], rustls::pki_types::PrivateKeyDer::Pkcs8(private.into()))
        .unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), key.cert.pem()).unwrap();
    (Server::start_with(handler, Some(Arc::new(config))), roots)
}

fn tls_url(server: &Server, path: &str) -> String {
    server.url(path).replace("http://127.0.0.1", "https://localhost")
}

/// The subcommand, printing the demo chart of a repository.
fn template(cache: &Path, repository: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terraform-provider-mesh"));
    command.args(["template", "x", "demo", "--repo", repository, "--version", "1.0.0"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", cache);
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { names.extend(walk(&path)) } else { names.push(path.display().to_string()) }
    }
    names
}

fn request<'a>(location: &'a Location, version: Option<&'a str>) -> Request<'a> {
    Request { location, name: "demo", version, digest: None, credentials: None }
}

fn archive(version: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let chart = format!("apiVersion: v2\nname: demo\nversion: {version}\n");
    for (name, content) in
        [("demo/Chart.yaml", chart.as_str()), ("demo/templates/a.yaml", "kind: Demo\nname: {{ .Release.Name }}\n")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn index(url: &str, digest: Option<&str>) -> String {
    let digest = digest.map(|digest| format!("\n    digest: {digest}")).unwrap_or_default();
    format!("apiVersion: v1\nentries:\n  demo:\n  - name: demo\n    version: 1.0.0{digest}\n    urls: ['{url}']\n")
}

fn repository(archive: &[u8], digest: Option<&str>) -> Server {
    Server::start(repository_handler(archive, digest))
}

fn repository_handler(archive: &[u8], digest: Option<&str>) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let right = sha256(archive);
    let index = index("demo-1.0.0.tgz", Some(digest.unwrap_or(&right)));
    let archive = archive.to_vec();
    move |request| match request.path.rsplit('/').next() {
        Some("index.yaml") => Reply::ok(index.clone().into_bytes()),
        Some("demo-1.0.0.tgz") => Reply::ok(archive.clone()),
        _ => Reply::status(404),
    }
}

fn registry(archive: Vec<u8>, tag: &'static str) -> Server {
    let layer = format!("sha256:{}", sha256(&archive));
    let manifest = format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"{layer}","size":{}}}]}}"#,
        archive.len()
    );
    Server::start(move |request| {
        let path = request.path.as_str();
        if path.starts_with("/token") {
            let right = request.header("authorization") == Some(&format!("Basic {}", base64("user:secret")))
                && path.contains("scope=repository%3Ateam%2Fcharts%2Fdemo%3Apull");
            return if right { Reply::ok(br#"{"token":"abc"}"#.to_vec()) } else { Reply::status(401) };
        }
        if request.header("authorization") != Some("Bearer abc") {
            let host = request.header("host").unwrap_or_default();
            let challenge = format!(
                "Bearer realm=\"http://{host}/token\",service=\"registry\",scope=\"repository:team/charts/demo:pull\""
            );
            return Reply { headers: vec![("WWW-Authenticate", challenge)], ..Reply::status(401) };
        }
        match path.strip_prefix("/v2/team/charts/demo/") {
            Some("tags/list") => Reply::ok(format!(r#"{{"tags":["0.9.0","{tag}","latest"]}}"#).into_bytes()),
            Some(path) if path == format!("manifests/{tag}") => Reply {
                headers: vec![("Docker-Content-Digest", format!("sha256:{}", sha256(manifest.as_bytes())))],
                ..Reply::ok(manifest.clone().into_bytes())
            },
            Some(path) if path == format!("blobs/{layer}") => Reply::ok(archive.clone()),
            _ => Reply::status(404),
        }
    })
}

/// A small HTTP/1.1 server that answers one request per connection and remembers what it was asked.
pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    running: Arc<Mutex<bool>>,
}

#[derive(Clone, Default)]
pub struct Asked {
    pub path: String,
    headers: Vec<(String, String)>,
}

pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// A Content-Length other than the true one.
    declared: Option<usize>,
}

impl Reply {
    pub fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body, declared: None }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok(Vec::new()) }
    }
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(handler, None)
    }

    fn start_with(
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, running) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(true)));
        let (seen, on, handler) = (asked.clone(), running.clone(), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !*on.lock().unwrap() {
                    return;
                }
                let (seen, handler, tls) = (seen.clone(), handler.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => answer(stream, &seen, &*handler),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        answer(rustls::StreamOwned::new(connection, stream), &seen, &*handler);
                    }
                });
            }
        });
        Self { port, asked, running }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }

    /// Refuses connections from now on.
    fn stop(&self) {
        *self.running.lock().unwrap() = false;
        // Wakes the thread that accepts, which then closes the socket.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

fn answer(stream: impl std::io::Read + std::io::Write, seen: &Mutex<Vec<Asked>>, handler: &dyn Fn(&Asked) -> Reply) {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked::default();
    let mut line = String::new();
    if reader.by_ref().read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    asked.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            asked.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    seen.lock().unwrap().push(asked.clone());
    let reply = handler(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.declared.unwrap_or(reply.body.len())));
    let stream = reader.get_mut();
    let _ =
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body)).and_then(|()| stream.flush());
}
