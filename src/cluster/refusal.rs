//! From answers that are none, or no success, to failures: what the API server refuses, and what is no API server at
//! all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::answer;
use super::error::{Failure, Status};
use super::secrets::Secrets;
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
    if let Some(detail) = foreign_answer(code, headers, body) {
        let detail = secrets.struck_from(&detail);
        return Failure::NotKubernetes { address: session.address.clone(), detail };
    }
    let mut status = Status::parse(code.as_u16(), body);
    status.message = secrets.struck_from(&status.message);
    for cause in &mut status.causes {
        cause.message = secrets.struck_from(&cause.message);
    }
    let header = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    status.retry_after = header.map(Duration::from_secs).or(status.retry_after);
    match code {
        StatusCode::UNAUTHORIZED => {
            Failure::Unauthorized { source_of_credential: session.resolved.credential.clone(), message: status.message }
        }
        StatusCode::FORBIDDEN => Failure::Forbidden { message: status.message },
        _ => Failure::Api(Box::new(status)),
    }
}

/// What answered, where it was no API server: a redirect, a page for people, a load balancer that knows no such host or
/// path.
///
/// 5xx are left out: what stands before an API server that is down answers so, and it is that which is down.
pub(super) fn foreign_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if code.is_redirection() {
        let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        // What comes after the path may hold a session.
        let to = to.split(['?', '#']).next().unwrap_or_default();
        return Some(format!("it redirects to {to:?} (HTTP status {})", code.as_u16()));
    }
    if code.is_server_error() {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') {
        return Some(format!("it answers with a web page{} (HTTP status {})", title(text), code.as_u16()));
    }
    // Where it knows no such path, an API server says just this.
    let is_own = text == "404 page not found" || answer::read(body).is_ok_and(|json| json.get("kind").is_some());
    if code == StatusCode::NOT_FOUND && !is_own {
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(100).collect();
        return Some(format!("it answers {text:?} (HTTP status 404), which no API server says"));
    }
    None
}

/// The title of a web page, as far as it has one.
fn title(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let found = lower.find("<title>").map(|start| start + 7).and_then(|start| {
        let end = lower[start..].find('<')? + start;
        Some(page[start..end].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    match found.filter(|title| !title.is_empty()) {
        Some(title) => format!(" ({:?})", title.chars().take(80).collect::<String>()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_no_api_server_is_told_from_one() {
        let none = HeaderMap::new();
        let foreign =
            |code: u16, body: &str| foreign_answer(StatusCode::from_u16(code).unwrap(), &none, body.as_bytes());
        let page = "<!doctype html>\n<html><head><title>Sign\n in</title>";
        assert_eq!(foreign(200, page).as_deref(), Some("it answers with a web page (\"Sign in\") (HTTP status 200)"));
        assert!(foreign(403, page).is_some() && foreign(404, "default backend - 404").is_some());
        assert_eq!(foreign(404, "404 page not found\n"), None, "an API server without this kind");
        assert_eq!(foreign(404, r#"{"kind":"Status","code":404}"#), None);
        assert_eq!(foreign(503, page), None, "what stands before an API server that is down");
        let location =
            HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("https://sso/login?state=secret"))]);
        let redirect = foreign_answer(StatusCode::FOUND, &location, b"").unwrap();
        assert_eq!(redirect, "it redirects to \"https://sso/login\" (HTTP status 302)");
    }
}
