//! A family of kubeconfigs, each read by kubectl and by the provider: both reach the server and say the same of who
//! asks, or both refuse.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig};
use tokio_rustls::TlsAcceptor;

/// Who a request says it comes from.
type Identity = BTreeMap<String, Vec<String>>;

struct Server {
    port: u16,
    authority: String,
    certificate: String,
    key: String,
    seen: Arc<Mutex<Vec<Identity>>>,
}

/// A TLS server that asks for a client certificate and notes who comes.
async fn server() -> Server {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate, key)
    };
    let (own, own_key) = issue("localhost");
    let (client, client_key) = issue("client");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().unwrap();
    let own_key = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![CertificateDer::from(own.der().to_vec())], own_key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<Identity>>> = Arc::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, notes) = (acceptor.clone(), notes.clone());
            tokio::spawn(async move {
                let mut first = [0];
                // Plain HTTP comes to the same port.
                if stream.peek(&mut first).await.is_err() {
                    return;
                }
                let answer = |certificate: bool, scheme: &'static str| {
                    service_fn(move |request: Request<Incoming>| {
                        notes.lock().unwrap().push(identity(&request, certificate, scheme));
                        let version = r#"{"major":"1","minor":"33","gitVersion":"v1.33.0"}"#;
                        let answer = Response::builder().header("content-type", "application/json");
                        let answer = answer.body(Full::new(Bytes::from_static(version.as_bytes()))).unwrap();
                        async move { Ok::<_, Infallible>(answer) }
                    })
                };
                if first[0] != 0x16 {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer(false, "http")).await;
                } else if let Ok(stream) = acceptor.accept(stream).await {
                    let certificate = stream.get_ref().1.peer_certificates().is_some();
                    let service = answer(certificate, "https");
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    let (certificate, key) = (client.pem(), client_key.serialize_pem());
    Server { port, authority: authority.pem(), certificate, key, seen }
}

fn identity(request: &Request<Incoming>, certificate: bool, scheme: &str) -> Identity {
    let mut found = Identity::new();
    for (name, value) in request.headers() {
        if name == "authorization" || name.as_str().starts_with("impersonate-") {
            let value = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
            found.entry(name.to_string()).or_default().push(value);
        }
    }
    found.insert("scheme".to_owned(), vec![scheme.to_owned()]);
    found.insert("certificate".to_owned(), vec![certificate.to_string()]);
    found
}

/// One kubeconfig: the lines of its cluster and of its user.
#[derive(Clone, Default)]
struct Case {
    name: String,
    cluster: Vec<String>,
    user: Vec<String>,
    /// Instead of what the two make.
    whole: Option<Vec<u8>>,
    /// Where the provider may accept what kubectl refuses, and why.
    lenient: Option<&'static str>,
    /// Where the provider refuses what kubectl accepts, and why.
    strict: Option<&'static str>,
}

impl Case {
    fn new(name: impl Into<String>, cluster: Vec<String>, user: Vec<String>) -> Case {
        Case { name: name.into(), cluster, user, ..Case::default() }
    }

    fn lenient(self, why: &'static str) -> Case {
        Case { lenient: Some(why), ..self }
    }

    fn strict(self, why: &'static str) -> Case {
        Case { strict: Some(why), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let block = |lines: &[String]| match lines {
            [] => " {}".to_owned(),
            lines => lines.iter().map(|line| format!("\n    {}", line.replace('\n', "\n    "))).collect(),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: u}}\n\
             clusters:\n- name: k\n  cluster:{}\nusers:\n- name: u\n  user:{}\n",
            block(&self.cluster),
            block(&self.user)
        )
        .into_bytes()
    }
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn wrapped(text: &str, width: usize, key: &str, style: &str) -> String {
    let text: Vec<String> =
        text.as_bytes().chunks(width).map(|chunk| format!("  {}", String::from_utf8_lossy(chunk))).collect();
    format!("{key}: {style}\n{}", text.join("\n"))
}

/// The versions of kubectl differ.
const BINARY: &str = "what is meant is plain, and some versions of kubectl take it";

/// The members of the family.
fn family(server: &Server, folder: &Path) -> Vec<Case> {
    let write = |name: &str, content: &str| std::fs::write(folder.join(name), content).unwrap();
    write("ca.pem", &server.authority);
    write("cert.pem", &server.certificate);
    write("key.pem", &server.key);
    for (name, content) in [
        ("tok", "file-token"),
        ("tok-nl", "file-token\n"),
        ("tok-crlf", "file-token\r\n"),
        ("tok-blank", " file-token \n\n"),
        ("tok-empty", ""),
        ("tok-only-nl", "\n"),
        ("tok-two", "file\ntoken\n"),
    ] {
        write(name, content);
    }
    let plugin = |name: &str, status: &str| {
        let version = "client.authentication.k8s.io/v1";
        let text = format!(
            "#!/bin/sh\nprintf '%s' '{{\"apiVersion\":\"{version}\",\"kind\":\"ExecCredential\",\"status\":{status}}}'\n"
        );
        write(name, &text);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    plugin("plugin", r#"{"token":"exec-token"}"#);
    plugin("plugin-empty", r#"{"token":""}"#);
    plugin("plugin-none", "{}");

    let ca = BASE64.encode(&server.authority);
    let (cert, key) = (BASE64.encode(&server.certificate), BASE64.encode(&server.key));
    let address = format!("server: https://localhost:{}", server.port);
    let good = vec![address.clone(), format!("certificate-authority-data: {ca}")];
    let token = lines(&["token: abc"]);
    let mut cases = Vec::new();

    // Every way to say what the certificate authority is.
    let authorities: Vec<(&str, Vec<String>)> = vec![
        ("data", vec![format!("certificate-authority-data: {ca}")]),
        ("wrapped", vec![wrapped(&ca, 76, "certificate-authority-data", "|")]),
        ("wrapped64", vec![wrapped(&ca, 64, "certificate-authority-data", "|-")]),
        ("folded", vec![wrapped(&ca, 76, "certificate-authority-data", ">-")]),
        ("binary", vec![wrapped(&ca, 76, "certificate-authority-data", "!!binary |")]),
        ("escaped", vec![format!("certificate-authority-data: \"{}\\n{}\\r\\n\"", &ca[..60], &ca[60..])]),
        ("no base64", lines(&["certificate-authority-data: '%%%'"])),
        ("no pem", vec![format!("certificate-authority-data: {}", BASE64.encode("nothing"))]),
        ("empty beside a file", lines(&["certificate-authority-data: ''", "certificate-authority: ca.pem"])),
        ("file", lines(&["certificate-authority: ca.pem"])),
        ("file and data", vec![format!("certificate-authority-data: {ca}"), "certificate-authority: ca.pem".into()]),
        ("file that is not there", lines(&["certificate-authority: none.pem"])),
        ("file with an absolute path", vec![format!("certificate-authority: {}", folder.join("ca.pem").display())]),
        ("none", vec![]),
        ("null", lines(&["certificate-authority-data: null"])),
        ("both empty", lines(&["certificate-authority-data: ''", "certificate-authority: ''"])),
        ("insecure", lines(&["insecure-skip-tls-verify: true"])),
        ("insecure in old words", lines(&["insecure-skip-tls-verify: yes"])),
        ("insecure false", vec![format!("certificate-authority-data: {ca}"), "insecure-skip-tls-verify: false".into()]),
        ("insecure null", vec![format!("certificate-authority-data: {ca}"), "insecure-skip-tls-verify: null".into()]),
        (
            "insecure with data",
            vec![format!("certificate-authority-data: {ca}"), "insecure-skip-tls-verify: true".into()],
        ),
        ("insecure with a file", lines(&["certificate-authority: ca.pem", "insecure-skip-tls-verify: true"])),
        ("insecure with an empty one", lines(&["certificate-authority-data: ''", "insecure-skip-tls-verify: true"])),
        ("insecure as text", lines(&["insecure-skip-tls-verify: 'true'"])),
    ];
    for (name, lines) in authorities {
        let case = Case::new(format!("authority: {name}"), [vec![address.clone()], lines].concat(), token.clone());
        cases.push(match name {
            "binary" => case.lenient(BINARY),
            "insecure as text" => {
                case.lenient("the reader of YAML takes a quoted boolean for one; nothing else can be meant")
            }
            _ => case,
        });
    }

    // Every way to say where.
    let (port, trust) = (server.port, good[1].clone());
    for server in [
        format!("https://localhost:{port}/"),
        format!("https://localhost:{port}//"),
        format!("HTTPS://localhost:{port}"),
        format!("https://localhost:{port}/prefix"),
        format!("https://localhost:{port}/prefix/"),
        format!("http://localhost:{port}"),
        format!("ftp://localhost:{port}"),
        "''".to_owned(),
        "null".to_owned(),
        "'https://'".to_owned(),
        "'://'".to_owned(),
        "7".to_owned(),
        format!("https://localhost:{port}x"),
        "'https://local host'".to_owned(),
    ] {
        let case =
            Case::new(format!("server: {server}"), vec![format!("server: {server}"), trust.clone()], token.clone());
        cases.push(case);
    }
    let user_info = vec![format!("server: https://user:pw@localhost:{port}"), trust.clone()];
    cases.push(
        Case::new("server: with a password", user_info, vec![]).strict("credentials in addresses end up in logs"),
    );
    for (name, line) in [
        ("empty", "tls-server-name: ''"),
        ("null", "tls-server-name: null"),
        ("right", "tls-server-name: localhost"),
        ("wrong", "tls-server-name: other"),
        ("no name", "tls-server-name: 'a b'"),
    ] {
        cases.push(Case::new(
            format!("tls-server-name: {name}"),
            [good.clone(), lines(&[line])].concat(),
            token.clone(),
        ));
    }
    for (name, line) in [
        ("empty", "proxy-url: ''"),
        ("null", "proxy-url: null"),
        ("dead", "proxy-url: http://127.0.0.1:1"),
        ("of another scheme", "proxy-url: ftp://127.0.0.1:1"),
    ] {
        cases.push(Case::new(format!("proxy-url: {name}"), [good.clone(), lines(&[line])].concat(), token.clone()));
    }
    for (name, line) in [
        ("unknown members", "unknown: {a: [1, 2]}\ndisable-compression: true"),
        ("extensions", "extensions: [{name: a, extension: {b: 1}}]"),
        ("extensions null", "extensions: null"),
        ("extensions with a null", "extensions: [{name: a, extension: null}]"),
    ] {
        cases.push(Case::new(format!("cluster: {name}"), [good.clone(), lines(&[line])].concat(), token.clone()));
    }
    cases.extend(users(&good, &cert, &key));
    cases.extend(files(&good));
    cases
}

/// Every credential, alone, empty, and beside each other.
fn users(good: &[String], cert: &str, key: &str) -> Vec<Case> {
    let both = [format!("client-certificate-data: {cert}"), format!("client-key-data: {key}")];
    let exec = |command: &str, rest: &str| {
        format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, interactiveMode: Never{rest}}}"
        )
    };
    let oidc =
        "auth-provider: {name: oidc, config: {id-token: a.b.c, idp-issuer-url: 'https://localhost:1', client-id: x}}";
    let single: Vec<(&str, String)> = vec![
        ("token", "token: abc".into()),
        ("token empty", "token: ''".into()),
        ("token null", "token: null".into()),
        ("token with a blank at its end", "token: 'abc '".into()),
        ("token with a line end", "token: \"abc\\n\"".into()),
        ("token as a block", "token: |\n  abc".into()),
        ("token with a line end inside", "token: \"a\\nb\"".into()),
        ("token with a nul", "token: \"a\\0b\"".into()),
        ("token file", "tokenFile: tok".into()),
        ("token file with a line end", "tokenFile: tok-nl".into()),
        ("token file of Windows", "tokenFile: tok-crlf".into()),
        ("token file with blanks", "tokenFile: tok-blank".into()),
        ("token file empty", "tokenFile: tok-empty".into()),
        ("token file of a line end", "tokenFile: tok-only-nl".into()),
        ("token file of two lines", "tokenFile: tok-two".into()),
        ("token file not there", "tokenFile: none".into()),
        ("token file unset", "tokenFile: ''".into()),
        ("basic", "username: me\npassword: pw".into()),
        ("basic empty", "username: ''\npassword: ''".into()),
        ("name alone", "username: me".into()),
        ("password alone", "password: pw".into()),
        ("certificate", both.join("\n")),
        ("certificate files", "client-certificate: cert.pem\nclient-key: key.pem".into()),
        (
            "certificate in files and empty data",
            "client-certificate: cert.pem\nclient-key: key.pem\nclient-certificate-data: ''\nclient-key-data: ''"
                .into(),
        ),
        (
            "certificate wrapped",
            format!(
                "{}\n{}",
                wrapped(cert, 76, "client-certificate-data", "|"),
                wrapped(key, 76, "client-key-data", "|")
            ),
        ),
        (
            "certificate binary",
            format!(
                "{}\n{}",
                wrapped(cert, 76, "client-certificate-data", "!!binary |"),
                wrapped(key, 64, "client-key-data", "!!binary |")
            ),
        ),
        ("certificate empty", "client-certificate-data: ''\nclient-key-data: ''".into()),
        ("certificate files empty", "client-certificate: ''\nclient-key: ''".into()),
        ("certificate without key", both[0].clone()),
        ("key without certificate", both[1].clone()),
        ("certificate twice", format!("{}\nclient-certificate: cert.pem", both.join("\n"))),
        ("key twice", format!("{}\nclient-key: key.pem", both.join("\n"))),
        ("certificate not there", "client-certificate: none.pem\nclient-key: key.pem".into()),
        ("key not there", "client-certificate: cert.pem\nclient-key: none.pem".into()),
        ("certificate no base64", "client-certificate-data: '%'\nclient-key-data: '%'".into()),
        ("certificate no pem", "client-certificate-data: YQ==\nclient-key-data: YQ==".into()),
        ("exec", exec("./plugin", "")),
        ("exec with nulls", exec("./plugin", ", args: null, env: null, installHint: null")),
        ("exec with lists", exec("./plugin", ", args: [a], env: [{name: A, value: b}, {name: B}]")),
        ("exec with a nameless variable", exec("./plugin", ", env: [{value: b}]")),
        ("exec with an empty token", exec("./plugin-empty", "")),
        ("exec with nothing", exec("./plugin-none", "")),
        ("exec not there", exec("./none", "")),
        ("exec without command", exec("''", "")),
        ("exec if available", exec("./plugin", "").replace("Never", "IfAvailable")),
        ("exec always", exec("./plugin", "").replace("Never", "Always")),
        ("exec of another mode", exec("./plugin", "").replace("Never", "Sometimes")),
        ("exec without mode", exec("./plugin", "").replace(", interactiveMode: Never", "")),
        ("exec without version", exec("./plugin", "").replace("apiVersion: client.authentication.k8s.io/v1, ", "")),
        ("exec of v1alpha1", exec("./plugin", "").replace("k8s.io/v1,", "k8s.io/v1alpha1,")),
        ("exec null", "exec: null".into()),
        ("auth provider oidc", oidc.into()),
        ("auth provider of old", "auth-provider: {name: gcp, config: {cmd-path: /bin/true}}".into()),
        ("auth provider null", "auth-provider: null".into()),
        ("as", "as: jane".into()),
        ("as empty", "as: ''".into()),
        (
            "as with all",
            "as: jane\nas-uid: '7'\nas-groups: [a, b]\nas-user-extra: {reason: [x, v], 'acme.com/Scope': [z]}".into(),
        ),
        ("as with empties", "as: jane\nas-uid: ''\nas-groups: []\nas-user-extra: {}".into()),
        ("as with nulls", "as: jane\nas-uid: null\nas-groups: null\nas-user-extra: null".into()),
        ("as-uid alone", "as-uid: '7'".into()),
        ("as-groups alone", "as-groups: [a]".into()),
        ("as-user-extra alone", "as-user-extra: {a: [b]}".into()),
        ("as with a line end", "as: \"jane\\n\"".into()),
        ("nothing", "unknown: 1".into()),
    ];
    let mut cases = Vec::new();
    let allowed = |case: Case| match case.name.as_str() {
        "user: exec without mode" | "user: exec without version" | "user: exec of v1alpha1" => {
            case.lenient("plugins answer all versions alike, and nobody is asked here in any case")
        }
        "user: certificate binary" => case.lenient(BINARY),
        _ => case,
    };
    for (name, line) in &single {
        cases.push(allowed(Case::new(format!("user: {name}"), good.to_vec(), lines(&[line]))));
    }
    // Two of these in one user.
    let pairs = [
        "token",
        "token empty",
        "token file with a line end",
        "token file not there",
        "basic",
        "basic empty",
        "name alone",
        "password alone",
        "certificate",
        "certificate empty",
        "exec",
        "auth provider oidc",
        "as with all",
    ];
    for (i, one) in pairs.iter().enumerate() {
        for other in &pairs[i + 1..] {
            let of = |wanted: &str| single.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
            let (first, second) = (of(one), of(other));
            let overlaps =
                first.lines().any(|line| second.lines().any(|l| l.split(':').next() == line.split(':').next()));
            if !overlaps {
                cases.push(Case::new(format!("user: {one} + {other}"), good.to_vec(), vec![first, second]));
            }
        }
    }
    cases
}

/// Files as a whole: encodings, documents, names.
fn files(good: &[String]) -> Vec<Case> {
    let plain = Case::new("", good.to_vec(), lines(&["token: abc"])).bytes();
    let text = String::from_utf8(plain.clone()).unwrap();
    let wide = |mark: [u8; 2], unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        mark.into_iter().chain(text.encode_utf16().flat_map(unit)).collect()
    };
    let whole =
        |name: &str, whole: Vec<u8>| Case { name: format!("file: {name}"), whole: Some(whole), ..Case::default() };
    let utf16 = "PowerShell writes it, and kubectl on Windows is the only one to be spared";
    let mut odd = wide([0xff, 0xfe], u16::to_le_bytes);
    odd.pop();
    vec![
        whole("plain", plain.clone()),
        whole("with a byte order mark", [b"\xef\xbb\xbf".as_slice(), &plain].concat()),
        whole("of Windows", text.replace('\n', "\r\n").into_bytes()),
        whole("UTF-16 LE", wide([0xff, 0xfe], u16::to_le_bytes)).lenient(utf16),
        whole("UTF-16 BE", wide([0xfe, 0xff], u16::to_be_bytes)).lenient(utf16),
        whole("UTF-16 cut", odd).lenient(utf16),
        whole("empty", vec![]),
        whole("of blanks", b" \n\n".to_vec()),
        whole("null", b"null\n".to_vec()),
        whole("a list", b"- a\n".to_vec()),
        whole("with a token twice", text.replace("token: abc", "token: old\n    token: abc").into_bytes()),
        whole("two documents, the second broken", format!("{text}---\na: [\n").into_bytes()),
        whole("two documents, the second a list", format!("{text}---\n- a\n").into_bytes()),
        whole("a text", b"abc\n".to_vec()),
        whole("broken", b"clusters: [\n".to_vec()),
        whole("no text", vec![0xff, 0xfe, 0xfd]),
        whole("two documents", format!("{text}---\ncurrent-context: other\n").into_bytes()),
        whole("two documents, the first empty", format!("---\n---\n{text}").into_bytes())
            .lenient("an empty document says nothing"),
        whole("without context", text.replace("current-context: c", "current-context: ''").into_bytes()),
        whole("with another context", text.replace("current-context: c", "current-context: d").into_bytes()),
        whole("without such a cluster", text.replace("cluster: k,", "cluster: l,").into_bytes()),
        whole("without such a user", text.replace("user: u}", "user: v}").into_bytes()),
        whole("with no user", text.replace(", user: u}", "}").into_bytes()),
        whole("with an empty user", text.replace("user: u}", "user: ''}").into_bytes()),
        whole("with lists of nothing", b"clusters: null\nusers: null\ncontexts: null\n".to_vec()),
        whole("with a user twice", format!("{text}- name: u\n  user: {{token: def}}\n").into_bytes()),
        whole("with a null user", text.replace("    token: abc\n", "").into_bytes()),
        whole("without kind", text.replace("kind: Config\n", "").into_bytes())
            .lenient("nothing else has clusters, users and contexts"),
        whole("without apiVersion", text.replace("apiVersion: v1\n", "").into_bytes())
            .lenient("nothing else has clusters, users and contexts"),
        whole("of another kind", text.replace("kind: Config", "kind: Other").into_bytes())
            .lenient("nothing else has clusters, users and contexts"),
        whole("of another version", text.replace("apiVersion: v1\n", "apiVersion: v2\n").into_bytes())
            .lenient("nothing else has clusters, users and contexts"),
        whole(
            "with a number for a name",
            text.replace("name: c", "name: 1").replace("context: c", "context: 1").into_bytes(),
        )
        .lenient("a number that stands for a name is a name"),
        whole("with preferences", format!("{text}preferences: {{colors: true}}\nextensions: []\n").into_bytes()),
    ]
}

/// What kubectl made of it: who it said it was, or its complaint.
fn by_kubectl(path: &Path, server: &Server) -> Result<Identity, String> {
    server.seen.lock().unwrap().clear();
    let output = Command::new("kubectl")
        .args(["--request-timeout=10s", "get", "--raw", "/version", "--kubeconfig"])
        .arg(path)
        .env_remove("KUBECONFIG")
        .env("HOME", path.parent().unwrap())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    match (output.status.success(), server.seen.lock().unwrap().pop()) {
        (true, Some(identity)) => Ok(identity),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Where nobody answers, a case costs all of it.
const SHORT: Duration = Duration::from_secs(2);

async fn by_us(path: PathBuf, server: &Server, time: Duration) -> Result<Identity, String> {
    server.seen.lock().unwrap().clear();
    let config = ClusterConfig { config_paths: vec![path.display().to_string()], ..ClusterConfig::default() };
    let scope = terraform_provider_mesh::cluster::Scope::lasting(time, Default::default());
    let cluster = Cluster::standalone("case", config, "test").within(scope);
    // In a task of its own: a panic is a verdict too.
    let asked = tokio::spawn(async move { cluster.version().await.map(drop).map_err(|error| error.to_string()) });
    match asked.await {
        Ok(Ok(())) => Ok(server.seen.lock().unwrap().pop().unwrap()),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(format!("PANIC {error}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubeconfigs_are_read_as_kubectl_reads_them() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "kubectl is missing");
        return eprintln!("skipped: there is no kubectl");
    }
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let cases = family(&server, folder.path());
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let mut differences = Vec::new();
    for case in &cases {
        let path = folder.path().join("config");
        std::fs::write(&path, case.bytes()).unwrap();
        let (theirs, begun) = (by_kubectl(&path, &server), Instant::now());
        let mut ours = by_us(path.clone(), &server, SHORT).await;
        // Where there is an answer, a busy machine may be late with it.
        if theirs.is_ok() && ours.is_err() && begun.elapsed() >= SHORT {
            ours = by_us(path.clone(), &server, 10 * SHORT).await;
        }
        let agree = match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            (Err(_), Err(error)) => !error.contains("PANIC"),
            // It asks a person for a name and password; without a person nobody is named.
            (Err(error), Ok(ours)) if error == "error: EOF\n" => {
                !ours.contains_key("authorization") && ours["certificate"] == ["false"]
            }
            (Err(_), Ok(_)) => case.lenient.is_some(),
            (Ok(_), Err(_)) => case.strict.is_some(),
        };
        if !agree {
            differences.push(format!("{}\n  kubectl: {theirs:?}\n  here: {ours:?}", case.name));
        }
    }
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), cases.len(), differences.join("\n"));
}
