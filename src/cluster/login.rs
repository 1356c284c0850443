//! Credentials: what goes into the `Authorization` header or the TLS handshake, how long it holds, and how it is
//! renewed.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::{BoxFuture, Ready, ready};
use http::{HeaderValue, Request, Response, header};
use jiff::Timestamp;
use kube::client::middleware::AuthLayer;
use kube::client::{AuthError, Body, ConfigExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::config::Exec;
use super::error::Failure;
use super::kubeconfig;
use super::resolve::{Authorization, Resolved};
use super::secrets::Secrets;

/// An exec plugin that takes longer has hung or asks someone who is not there.
const EXEC_TIME: Duration = Duration::from_secs(60);

/// A token file is read anew after this, as by client-go: the kubelet renews projected tokens long before they end.
const FILE_TIME: Duration = Duration::from_secs(60);

/// Where the `Authorization` header of each request comes from.
pub(super) enum Login {
    /// No header: the client certificate speaks, or nobody does.
    None,
    Fixed(HeaderValue),
    File(TokenFile),
    /// The kube crate's source: OIDC refreshed.
    Source(Box<AuthLayer>),
}

/// A token that another program keeps good.
pub(super) struct TokenFile {
    path: String,
    read: Mutex<(Instant, HeaderValue)>,
}

/// A login and the time it is known to hold.
pub(super) struct LoggedIn {
    pub login: Login,
    pub expires: Option<Timestamp>,
}

/// Obtains the credential; an exec plugin that gives a certificate puts it into `resolved` for the handshake.
pub(super) async fn log_in(resolved: &mut Resolved) -> Result<LoggedIn, Failure> {
    let Some(exec) = &resolved.exec else {
        return Ok(LoggedIn { login: without_plugin(resolved)?, expires: None });
    };
    let status = run_exec(exec).await?;
    let failed = |detail: &str| exec_failure(exec, detail.to_owned());
    let expires = status.expiration_timestamp.as_deref().map(str::parse::<Timestamp>);
    let expires = expires.transpose().map_err(|_| failed("gave an expirationTimestamp that is no time"))?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let pair = (given(status.client_certificate_data), given(status.client_key_data));
    if pair.0.is_some() != pair.1.is_some() {
        return Err(failed("gave a certificate without its key, or a key without its certificate"));
    }
    let with_certificate = pair.0.is_some();
    if let (Some(certificate), Some(key)) = pair {
        let user = json!({
            "client-certificate-data": BASE64.encode(certificate), "client-key-data": BASE64.encode(key),
        });
        resolved.kube.auth_info =
            serde_json::from_value(user).map_err(|_| failed("gave a certificate that cannot be used"))?;
    }
    let login = match given(status.token) {
        // Plugins print what they were given, line end and all.
        Some(token) => {
            Login::Fixed(bearer(token.trim()).ok_or_else(|| failed("gave a token that is no header value"))?)
        }
        None if with_certificate => Login::None,
        None => return Err(failed("gave neither token nor certificate")),
    };
    Ok(LoggedIn { login, expires })
}

fn without_plugin(resolved: &Resolved) -> Result<Login, Failure> {
    let refused = |detail: &str| Failure::Credential { detail: format!("the {} {detail}", resolved.credential) };
    Ok(match &resolved.authorization {
        Authorization::None => Login::None,
        Authorization::Bearer(token) => Login::Fixed(bearer(token.expose()).ok_or_else(|| refused(NO_TOKEN))?),
        Authorization::TokenFile { path, instead } => {
            let token = token_of(path).or_else(|error| match instead {
                Some(token) => Ok(token.expose().to_owned()),
                None => Err(refused(&format!("cannot be used: {error}"))),
            })?;
            let value = bearer(&token).ok_or_else(|| refused(NO_TOKEN))?;
            Login::File(TokenFile { path: path.clone(), read: Mutex::new((Instant::now(), value)) })
        }
        Authorization::Basic { username, password } => {
            let pair = BASE64.encode(format!("{username}:{}", password.expose()));
            Login::Fixed(header("Basic", &pair).ok_or_else(|| refused("cannot be sent"))?)
        }
        Authorization::Provider => {
            let source = resolved.kube.auth_layer().map_err(|error| credential_failure(&error))?;
            source.map_or(Login::None, |source| Login::Source(Box::new(source)))
        }
    })
}

/// As kubectl judges, which sends nothing either.
const NO_TOKEN: &str = "is no token: it holds a line end, or another character that no header can hold";

fn token_of(path: &str) -> Result<String, String> {
    let bytes = kubeconfig::bounded(Path::new(path)).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        token => Ok(token.to_owned()),
    }
}

impl TokenFile {
    /// The token as last read. One that cannot be read any more counts until the API server refuses it.
    fn header(&self) -> HeaderValue {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0.elapsed() >= FILE_TIME {
            let found = token_of(&self.path).ok().and_then(|token| bearer(&token));
            *read = (Instant::now(), found.unwrap_or_else(|| read.1.clone()));
        }
        read.1.clone()
    }
}

impl Login {
    pub async fn header(&self) -> Result<Option<HeaderValue>, Failure> {
        match self {
            Login::None => Ok(None),
            Login::Fixed(value) => Ok(Some(value.clone())),
            Login::File(file) => Ok(Some(file.header())),
            Login::Source(source) => {
                let written = echoed(source).await;
                let written = written.map_err(|error| source_failure(error.as_ref()))?;
                Ok(written.headers().get(header::AUTHORIZATION).cloned())
            }
        }
    }
}

/// The source is a middleware: sends it an empty request and has what it wrote on it sent back.
///
/// Boxed, because the compiler cannot prove of the middleware's own future that it may change threads.
fn echoed(source: &AuthLayer) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
    let echo = service_fn(|request: Request<Body>| -> Ready<Result<Response<Body>, BoxError>> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = request.into_parts().0.headers;
        ready(Ok(response))
    });
    Box::pin(source.layer(echo).oneshot(Request::new(Body::empty())))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    status: Option<ExecStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the plugin without a terminal. Its standard output holds the credential and is never quoted.
async fn run_exec(exec: &Exec) -> Result<ExecStatus, Failure> {
    let mut spec = json!({ "interactive": false });
    if let Some(info) = &exec.cluster_info {
        spec["cluster"] = info.clone();
    }
    let info = json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec });
    let mut command = tokio::process::Command::new(&exec.command);
    command
        .args(&exec.args)
        .envs(exec.env.iter().map(|(name, value)| (name, value.expose())))
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(EXEC_TIME, output_of(&mut command)).await {
        Err(_) => return Err(exec_failure(exec, format!("gave no answer in {} s", EXEC_TIME.as_secs()))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            let (command, install_hint) = (exec.command.clone(), exec.install_hint.clone());
            return Err(Failure::Exec { command, detail: "is not there".to_owned(), install_hint });
        }
        Ok(Err(error)) => return Err(exec_failure(exec, format!("cannot be run: {error}"))),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let mut secrets = Secrets::default();
        exec.env.iter().for_each(|(_, value)| secrets.add(value.expose()));
        let words = last_words(&secrets.struck_from(&String::from_utf8_lossy(&output.stderr)));
        return Err(exec_failure(exec, format!("failed ({}): {words}", output.status)));
    }
    let credential: ExecCredential = serde_json::from_slice(&output.stdout).map_err(|error| {
        exec_failure(
            exec,
            format!("printed no ExecCredential in JSON (line {}, column {})", error.line(), error.column()),
        )
    })?;
    // As client-go judges: another version may mean something else by the same names.
    if credential.kind != "ExecCredential" || credential.api_version != exec.api_version {
        let detail =
            format!("printed something else than an ExecCredential of {}, which it was asked for", exec.api_version);
        return Err(exec_failure(exec, detail));
    }
    credential.status.ok_or_else(|| exec_failure(exec, "gave a credential without status".to_owned()))
}

/// What a program prints, as far as a credential or a reason could reach. One that prints more is not waited for: it
/// may never end.
async fn output_of(command: &mut tokio::process::Command) -> std::io::Result<std::process::Output> {
    const MOST: u64 = 4 << 20;

    async fn read(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            stream.take(MOST + 1).read_to_end(&mut bytes).await?;
        }
        match bytes.len() as u64 > MOST {
            true => Err(std::io::Error::other(format!("it printed more than {} MiB", MOST >> 20))),
            false => Ok(bytes),
        }
    }

    let mut child = command.spawn()?;
    let (stdout, stderr) = tokio::try_join!(read(child.stdout.take()), read(child.stderr.take()))?;
    Ok(std::process::Output { status: child.wait().await?, stdout, stderr })
}

/// The end of a plugin's standard error, where the reason stands.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = lines[lines.len().saturating_sub(3)..].join("; ");
    match words.char_indices().rev().nth(300) {
        Some((start, _)) => format!("…{}", &words[start..]),
        None if words.is_empty() => "it said nothing".to_owned(),
        None => words,
    }
}

/// Of a plugin that is there: how to install it is no help then.
fn exec_failure(exec: &Exec, detail: String) -> Failure {
    Failure::Exec { command: exec.command.clone(), detail, install_hint: None }
}

/// Blanks at the ends go, as on the way to the API server; line ends do not, for kubectl refuses them.
fn bearer(token: &str) -> Option<HeaderValue> {
    let token = token.trim_matches([' ', '\t']);
    if token.is_empty() { None } else { header("Bearer", token) }
}

fn header(scheme: &str, credential: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme} {credential}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn credential_failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Auth(error) => auth_failure(error),
        other => Failure::Credential { detail: other.to_string() },
    }
}

fn source_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    match error.downcast_ref::<AuthError>() {
        Some(error) => auth_failure(error),
        None => Failure::Credential { detail: error.to_string() },
    }
}

/// The kube crate quotes a failed command's whole output, in which a token may stand.
fn auth_failure(error: &AuthError) -> Failure {
    let detail = match error {
        AuthError::AuthExecRun { out, .. } => format!("the auth provider's command failed ({})", out.status),
        AuthError::AuthExecParse(_) => "the auth provider's command printed what cannot be read".to_owned(),
        other => other.to_string(),
    };
    Failure::Credential { detail }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::cluster::Error;

    fn shell(script: &str) -> Exec {
        Exec { command: "sh".into(), args: vec!["-c".into(), script.into()], ..Exec::default() }
    }

    async fn failure(exec: &Exec) -> String {
        run_exec(exec).await.err().expect("the plugin fails").to_string()
    }

    #[tokio::test]
    async fn a_plugin_is_told_what_client_go_tells_it() {
        let script = r#"printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$(printf %s "$KUBERNETES_EXEC_INFO" | tr -d '"')""#;
        let status = run_exec(&Exec {
            api_version: "client.authentication.k8s.io/v1".into(),
            cluster_info: Some(json!({"server": "https://x"})),
            ..shell(script)
        })
        .await
        .unwrap();
        let told = status.token.unwrap();
        assert!(told.contains("kind:ExecCredential") && told.contains("server:https://x"), "{told}");
    }

    #[tokio::test]
    async fn what_client_go_would_not_take_of_a_plugin_is_refused() {
        let log_in_with = async |printed: &str| {
            let exec = Exec {
                api_version: "client.authentication.k8s.io/v1".into(),
                ..shell(&format!("printf %s '{printed}'"))
            };
            let config = crate::cluster::ClusterConfig {
                host: Some("https://x".into()),
                exec: Some(exec),
                ..Default::default()
            };
            let mut resolved = super::super::resolve::resolve(&config).unwrap();
            log_in(&mut resolved).await.map(|_| ()).map_err(|failure| failure.to_string())
        };
        let of = |version: &str, kind: &str, status: &str| {
            format!(r#"{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"{kind}","status":{status}}}"#)
        };
        let token = r#"{"token":"abc","clientCertificateData":"","clientKeyData":""}"#;
        log_in_with(&of("v1", "ExecCredential", token)).await.unwrap();
        for printed in [
            of("v1beta1", "ExecCredential", token),
            of("v1", "Other", token),
            of("v1", "ExecCredential", r#"{"token":""}"#),
            of("v1", "ExecCredential", r#"{"clientCertificateData":"a"}"#),
            of("v1", "ExecCredential", r#"{"token":"abc","clientKeyData":"a"}"#),
        ] {
            assert!(log_in_with(&printed).await.is_err(), "{printed}");
        }
    }

    #[tokio::test]
    async fn failures_quote_standard_error_and_never_standard_output() {
        let text = failure(&shell("echo secret-token; echo first >&2; echo 'login expired' >&2; exit 3")).await;
        assert_eq!(text, "the exec plugin sh failed (exit status: 3): first; login expired");
        let text = failure(&shell("echo secret-token")).await;
        assert!(!text.contains("secret"), "{text}");
        let env = vec![("PASSWORD".to_owned(), crate::cluster::Secret::new("hunter2-very-secret"))];
        let text = failure(&Exec { env, ..shell("echo \"bad password $PASSWORD\" >&2; exit 1") }).await;
        assert_eq!(text, "the exec plugin sh failed (exit status: 1): bad password (hidden)");
        let missing = Exec { command: "/nonexistent/plugin".into(), ..Exec::default() };
        assert_eq!(failure(&missing).await, "the exec plugin /nonexistent/plugin is not there");
    }

    #[tokio::test]
    async fn only_a_plugin_that_is_not_there_is_to_be_installed() {
        let advice = async |exec: Exec| {
            let exec = Exec { install_hint: Some("Install the plugin.".into()), ..exec };
            Error::new("east", run_exec(&exec).await.err().expect("the plugin fails")).remedy()
        };
        for script in ["echo 'login expired' >&2; exit 3", "echo no JSON"] {
            assert!(advice(shell(script)).await.contains("by hand"), "{script}");
        }
        let missing = Exec { command: "/nonexistent/plugin".into(), ..Exec::default() };
        assert_eq!(advice(missing).await, "Install the plugin.");
    }
}
