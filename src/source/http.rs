//! Requests with a limit on what is read, retries where they may help, and errors that name the place.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are respected, and certificates are checked as the system checks them
//! (on Linux `SSL_CERT_FILE` and `SSL_CERT_DIR` name other roots).
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use tokio::sync::OnceCell;

use super::{Credentials, Error, shown};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1200)];

/// An HTTP client that comes into being with the first request.
#[derive(Debug, Default)]
pub(super) struct Http {
    client: OnceCell<reqwest::Client>,
}

pub(super) struct Get<'a> {
    pub(super) url: &'a Url,
    pub(super) accept: Option<&'static str>,
    pub(super) authorization: Option<HeaderValue>,
    /// No answer may be longer than this.
    pub(super) limit: usize,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Http {
    /// The answer, whatever its status; asks again when a server is overloaded or a connection breaks.
    pub(super) async fn get(&self, get: Get<'_>) -> Result<Answer, Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let result = self.once(&get).await;
            let again = match &result {
                Ok(answer) => answer.status.as_u16() == 429 || answer.status.is_server_error(),
                Err(error) => error.is_transient(),
            };
            match (again, pauses.next()) {
                (true, Some(pause)) => tokio::time::sleep(pause).await,
                _ => return result,
            }
        }
    }

    /// The body of a good answer.
    pub(super) async fn body(&self, get: Get<'_>) -> Result<Vec<u8>, Error> {
        let url = get.url.clone();
        let answer = self.get(get).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(bad_status(&url, answer.status)) }
    }

    async fn once(&self, get: &Get<'_>) -> Result<Answer, Error> {
        let unreachable = |source: reqwest::Error| {
            let url = shown(get.url);
            match refused_redirect(&source) {
                Some(PlainHttp { to }) => Error::Downgrade { url, to: to.clone() },
                // The error's own URL may hold what ours leaves out.
                None => Error::Unreachable { url, source: Box::new(source.without_url()) },
            }
        };
        let client = self.client.get_or_try_init(|| async { client() }).await.map_err(unreachable)?;
        let mut request = client.get(get.url.clone());
        if let Some(accept) = get.accept {
            request = request.header(reqwest::header::ACCEPT, accept);
        }
        if let Some(authorization) = &get.authorization {
            request = request.header(reqwest::header::AUTHORIZATION, authorization);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let too_large = || Error::TooLarge { url: shown(get.url), limit: get.limit };
        if response.content_length().is_some_and(|length| length > get.limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > get.limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body })
    }
}

/// A redirect that was not followed.
#[derive(Debug, thiserror::Error)]
#[error("it leads to {to}, over plain http")]
struct PlainHttp {
    to: String,
}

fn refused_redirect(error: &reqwest::Error) -> Option<&PlainHttp> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Redirects are followed, but none from https to plain http: a digest that is pinned is compared later than what an
/// index says is believed.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if was_safe && attempt.url().scheme() == "http" {
            let to = shown(attempt.url());
            return attempt.error(PlainHttp { to });
        }
        Policy::default().redirect(attempt)
    })
}

fn client() -> reqwest::Result<reqwest::Client> {
    // The whole process has one crypto provider; where none is set yet, the HTTP client would refuse to start.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    reqwest::Client::builder()
        .user_agent(concat!("terraform-provider-mesh/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirects())
        .build()
}

pub(super) fn bad_status(url: &Url, status: StatusCode) -> Error {
    let (url, status) = (shown(url), status.as_u16());
    if matches!(status, 401 | 403 | 407) { Error::Unauthorized { url, status } } else { Error::Status { url, status } }
}

/// `Authorization: Basic …`, marked so that it is never logged.
pub(super) fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{}:{}", credentials.username, credentials.password);
    secret(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The credentials given, or those written into the URL.
pub(super) fn credentials(url: &Url, given: Option<&Credentials>) -> Option<Credentials> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    given.cloned().or_else(|| {
        let (username, password) = (decode(url.username()), decode(url.password().unwrap_or_default()));
        (!username.is_empty() || !password.is_empty()).then_some(Credentials { username, password })
    })
}
