//! From answers that are none, or no success, to failures: what the API server refuses, and what is no API server at
//! all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::answer;
use super::error::{Failure, Status};
use super::secrets::{READ_OF_A_PAGE, Secrets};
use super::session::Session;

/// The most that is read of an answer. All Secrets of a large cluster are a tenth of it.
const MOST: usize = 256 << 20;

/// Why a request could not be sent: in the connector's words, where it says so.
pub(super) fn sending_failure(session: &Session, error: &hyper_util::client::legacy::Error) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(failure) = current.downcast_ref::<Failure>() {
            return failure.clone();
        }
        source = current.source();
    }
    broken(session, error)
}

/// All of a body, as far as one may reach: a far end that never ends is not waited for, nor kept.
pub(super) async fn whole(session: &Session, body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, MOST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("{} answers with more than {} MiB", session.address, MOST >> 20);
            Err(Failure::Unexpected { detail })
        }
        Err(error) => Err(broken(session, &*error)),
    }
}

fn broken(session: &Session, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let (address, detail) = (session.address.clone(), last.to_string());
    // With TLS 1.3 a server refuses a client certificate only after the handshake.
    match detail.contains("fatal alert") {
        true => Failure::Tls { address, detail },
        false => Failure::Broken { address, detail },
    }
}

/// What an answer without success says, the secrets in use struck from it.
pub(super) fn refusal(session: &Session, secrets: &Secrets, parts: &http::response::Parts, body: &[u8]) -> Failure {
    let (code, headers) = (parts.status, &parts.headers);
    let mut status = Status::parse(code.as_u16(), body, secrets);
    let header = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    status.retry_after = header.map(Duration::from_secs).or(status.retry_after);
    // An admission webhook chooses the status code of what it refuses.
    if status.is_of_admission() && code.is_client_error() {
        return Failure::Forbidden { message: status.message };
    }
    if let Some(detail) = foreign_answer(code, headers, body, secrets) {
        return Failure::NotKubernetes { address: session.address.clone(), detail };
    }
    match code {
        StatusCode::UNAUTHORIZED => {
            Failure::Unauthorized { source_of_credential: session.resolved.credential.clone(), message: status.message }
        }
        StatusCode::FORBIDDEN => Failure::Forbidden { message: status.message },
        _ => Failure::Api(Box::new(status)),
    }
}

/// What answered, where it was no API server: a redirect, a page for people, a proxy or a load balancer that knows no
/// such host or path. The secrets in use are struck from it.
///
/// 5xx and 429 are left out: what stands before an API server that is down or has too much to do answers so, and it is
/// that which is down. So is a 401 in other words than Kubernetes': a proxy in front asks for the same credential, and
/// it may have to be renewed.
pub(super) fn foreign_answer(code: StatusCode, headers: &HeaderMap, body: &[u8], secrets: &Secrets) -> Option<String> {
    let number = code.as_u16();
    if code.is_redirection() {
        let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        // What comes after the path may hold a session.
        let to = secrets.struck_from(to.split(['?', '#']).next().unwrap_or_default());
        return Some(format!("it redirects to {to:?} (HTTP status {number})"));
    }
    if code == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Some("a proxy asks for credentials of its own (HTTP status 407)".to_owned());
    }
    if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let body_text = body.trim_ascii();
    if body_text.starts_with(b"<") {
        return Some(format!("it answers with a web page{} (HTTP status {number})", title(body_text, secrets)));
    }
    if code == StatusCode::UNAUTHORIZED {
        return None;
    }
    if code.is_success() {
        return Some(match body_text {
            b"" => format!("it answers with nothing (HTTP status {number})"),
            _ => format!("it answers {:?} (HTTP status {number}), which is no JSON", secrets.in_short(body, QUOTED)),
        });
    }
    // Where it knows no such path, an API server says just this.
    let is_own = body_text == b"404 page not found" && code == StatusCode::NOT_FOUND
        || answer::read(body).is_ok_and(|json| json.get("kind").is_some_and(|kind| kind == "Status"));
    (!is_own).then(|| {
        let text = secrets.in_short(body, QUOTED);
        format!("it answers {text:?} (HTTP status {number}), which no API server says")
    })
}

/// Characters that are quoted of it.
const QUOTED: usize = 100;

/// The title of a web page, as far as it has one.
fn title(page: &[u8], secrets: &Secrets) -> String {
    let page = String::from_utf8_lossy(&page[..page.len().min(READ_OF_A_PAGE)]);
    let lower = page.to_ascii_lowercase();
    let found = lower.find("<title>").map(|start| start + 7).and_then(|start| {
        let end = lower[start..].find('<')? + start;
        Some(secrets.in_short(page[start..end].as_bytes(), QUOTED))
    });
    match found.filter(|title| !title.is_empty()) {
        Some(title) => format!(" ({title:?})"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_api_server_is_told_from_one() {
        let none = HeaderMap::new();
        let foreign = |code: u16, body: &str| {
            foreign_answer(StatusCode::from_u16(code).unwrap(), &none, body.as_bytes(), &Secrets::default())
        };
        let page = "<!doctype html>\n<html><head><title>Sign\n in</title>";
        assert_eq!(foreign(200, page).as_deref(), Some("it answers with a web page (\"Sign in\") (HTTP status 200)"));
        assert!(foreign(403, page).is_some() && foreign(404, "default backend - 404").is_some());
        assert_eq!(foreign(404, "404 page not found\n"), None, "an API server without this kind");
        assert_eq!(foreign(404, r#"{"kind":"Status","code":404}"#), None);
        assert_eq!(foreign(503, page), None, "what stands before an API server that is down");
        assert_eq!(foreign(401, r#"{"type":"error","message":"must authenticate"}"#), None, "a login to be renewed");
        for (code, body) in [
            (200, ""),
            (204, ""),
            (200, "OK"),
            (403, "Access denied by corporate proxy"),
            (403, r#"{"error":"forbidden","code":"WAF_BLOCK"}"#),
            (404, r#"{"kind":"error","code":404}"#),
            (400, "Client sent an HTTP request to an HTTPS server."),
            (407, "Proxy Authentication Required"),
        ] {
            assert!(foreign(code, body).is_some(), "{code} {body}");
        }
        let location =
            HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("https://sso/login?state=secret"))]);
        let redirect = foreign_answer(StatusCode::FOUND, &location, b"", &Secrets::default()).unwrap();
        assert_eq!(redirect, "it redirects to \"https://sso/login\" (HTTP status 302)");
    }

    #[test]
    fn a_secret_that_comes_back_is_struck_before_the_text_is_cut() {
        let token = format!("marked{}", "-0123456789abcdef".repeat(40));
        let mut secrets = Secrets::default();
        secrets.add(&token);
        let none = HeaderMap::new();
        for (code, body) in [
            (200, format!("<html><title>Welcome Bearer {token}</title>")),
            (401, format!("<html><title>Sign in, {token}</title>")),
            (404, format!("no such host: Bearer {token}")),
            (403, format!("{{\"error\": \"Bearer {token}\"}}")),
        ] {
            let code = StatusCode::from_u16(code).unwrap();
            let said = foreign_answer(code, &none, body.as_bytes(), &secrets).unwrap();
            assert!(said.contains("(hidden)") && !said.contains("marked"), "{said}");
        }
        for body in [format!("bad header: Bearer {token}"), json!({"kind": "Status", "message": token}).to_string()] {
            let said = Status::parse(400, body.as_bytes(), &secrets).message;
            assert!(said.contains("(hidden)") && !said.contains("marked"), "{said}");
        }
    }
}
