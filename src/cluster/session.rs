//! A credential and the connections made with it: opened by the first request, renewed when the credential runs out or
//! is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use tokio::sync::{Mutex, MutexGuard, OnceCell, Semaphore};
use tokio::time::Instant;

use super::config::{ClusterConfig, Endpoint};
use super::connect::{Connector, Offer};
use super::error::Failure;
use super::login::{Login, log_in};
use super::resolve::{Resolved, resolve};

/// Requests under way at once per cluster.
pub(super) const PARALLEL: usize = 16;
/// For so long after a failed first contact other requests fail at once with the same words.
const DOWN_MEMORY: Duration = Duration::from_secs(5);
/// A credential about to expire is renewed rather than tried.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// What all handles to one cluster share.
pub(super) struct Connections {
    config: ClusterConfig,
    user_agent: HeaderValue,
    session: Mutex<Option<Arc<Session>>>,
    /// Held by the first request so that the others find its connection instead of opening sixteen.
    first: Mutex<()>,
    pub(super) answered: AtomicBool,
    down: std::sync::Mutex<Option<(Instant, Failure)>>,
    pub(super) permits: Semaphore,
    requests: AtomicU64,
    /// By how many seconds this machine's clock is ahead of the server's, as its last answer told; [`i64::MIN`] where
    /// none did.
    ahead: AtomicI64,
}

/// A credential and the connections made with it.
pub(super) struct Session {
    pub client: HttpClient<Connector, Body>,
    pub upgrading: OnceCell<HttpClient<Connector, Body>>,
    pub resolved: Resolved,
    login: Login,
    expires: Option<Timestamp>,
    pub base: String,
    pub address: String,
    /// Made because the credential before it was refused.
    renewed_after_refusal: bool,
    /// Whether anything was answered with it.
    served: AtomicBool,
}

impl Connections {
    pub(super) fn note_time(&self, headers: &HeaderMap) {
        let told = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(told) = told.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return };
        let ahead = Timestamp::now().as_second().saturating_sub(told.timestamp().as_second());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// The time by the cluster's clock, as far as an answer has told it.
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_sub(SignedDuration::from_secs(self.ahead().unwrap_or_default())).unwrap_or(now)
    }

    /// By how many seconds this machine's clock is ahead of the server's; negative where it is behind.
    pub(super) fn ahead(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != i64::MIN)
    }

    pub fn new(config: ClusterConfig, version: &str) -> Connections {
        let user_agent = format!("terraform-provider-mesh/{version}");
        Connections {
            config,
            user_agent: HeaderValue::try_from(user_agent)
                .unwrap_or(HeaderValue::from_static("terraform-provider-mesh")),
            session: Mutex::new(None),
            first: Mutex::new(()),
            answered: AtomicBool::new(false),
            ahead: AtomicI64::new(i64::MIN),
            down: std::sync::Mutex::new(None),
            permits: Semaphore::new(PARALLEL),
            requests: AtomicU64::new(0),
        }
    }

    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    pub fn user_agent(&self) -> &HeaderValue {
        &self.user_agent
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The turn to be the first to reach the server; `None` once someone has.
    pub(super) async fn first_turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.answered.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.first.lock().await;
        (!self.answered.load(Ordering::Relaxed)).then_some(turn)
    }

    /// The session, logged in anew where the credential runs out.
    async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut slot = self.session.lock().await;
        match &*slot {
            Some(session) if !session.is_expiring() => Ok(session.clone()),
            _ => Session::open(&self.config, false).await.map(|session| slot.insert(session).clone()),
        }
    }

    /// After a 401: another credential than the refused one, or `None` where there is no other to be had.
    async fn renew(&self, refused: &Arc<Session>) -> Result<Option<Arc<Session>>, Failure> {
        let mut slot = self.session.lock().await;
        match &*slot {
            Some(current) if !Arc::ptr_eq(current, refused) => return Ok(Some(current.clone())),
            _ => {}
        }
        if refused.is_no_better() {
            return Ok(None);
        }
        // Exec plugins run again; files are read again, and may hold what another program has renewed.
        Ok(Some(slot.insert(Session::open(&self.config, true).await?).clone()))
    }

    /// Does something with the session, and once more with another credential where the first was refused and another
    /// is to be had. A long run may need that more than once: of many credentials nobody says when they end.
    pub(super) async fn renewing<T, A>(&self, attempt: impl Fn(Arc<Session>) -> A) -> Result<T, Failure>
    where
        A: Future<Output = Result<T, Failure>>,
    {
        let session = self.session().await?;
        let done = session.observed(attempt(session.clone()).await);
        if !matches!(done, Err(Failure::Unauthorized { .. })) {
            return done;
        }
        match self.renew(&session).await? {
            Some(renewed) => renewed.observed(attempt(renewed.clone()).await),
            None => done,
        }
    }

    pub(super) fn remembered_down(&self) -> Option<Failure> {
        let down = self.down.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        down.as_ref().filter(|(since, _)| since.elapsed() < DOWN_MEMORY).map(|(_, failure)| failure.clone())
    }

    pub(super) fn remember_down(&self, failure: &Failure) {
        if !self.answered.load(Ordering::Relaxed) {
            let mut down = self.down.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *down = Some((Instant::now(), failure.clone()));
        }
    }
}

impl Session {
    async fn open(config: &ClusterConfig, renewed_after_refusal: bool) -> Result<Arc<Session>, Failure> {
        let mut resolved = resolve(config)?;
        let logged_in = log_in(&mut resolved).await?;
        let connector = Connector::new(&resolved, Offer::Http2)?;
        let address = connector.address().to_owned();
        let client = http_client(connector);
        let uri = &resolved.kube.cluster_url;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        // A path is kept: clusters behind a management server live below one.
        let base = format!("{}://{authority}{}", uri.scheme_str().unwrap_or("https"), uri.path().trim_end_matches('/'));
        let (login, expires) = (logged_in.login, logged_in.expires);
        Ok(Arc::new(Session {
            client,
            upgrading: OnceCell::new(),
            resolved,
            login,
            expires,
            base,
            address,
            renewed_after_refusal,
            served: AtomicBool::new(false),
        }))
    }

    /// A credential that was renewed and refused again is not renewed in a circle.
    fn is_no_better(&self) -> bool {
        self.renewed_after_refusal && !self.served.load(Ordering::Relaxed)
    }

    fn observed<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        if done.is_ok() {
            self.served.store(true, Ordering::Relaxed);
        }
        done
    }

    fn is_expiring(&self) -> bool {
        self.expires.is_some_and(|expires| Timestamp::now() + EXPIRY_MARGIN >= expires)
    }

    /// Puts on who we are.
    pub async fn sign(&self, headers: &mut HeaderMap, user_agent: &HeaderValue) -> Result<(), Failure> {
        headers.insert(header::USER_AGENT, user_agent.clone());
        if let Some(value) = self.login.header().await? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let unusable = || Failure::Config {
            detail: "the user to impersonate (`as` of the kubeconfig, or what goes with it) is no header value"
                .to_owned(),
        };
        for (name, value) in &self.resolved.impersonation {
            let name = HeaderName::try_from(name).map_err(|_| unusable())?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| unusable())?);
        }
        Ok(())
    }
}

pub(super) fn http_client(connector: Connector) -> HttpClient<Connector, Body> {
    HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        // A connection that a firewall has dropped without a word is found out before a request waits a minute on it.
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(connector)
}

/// What the configuration says of the server, without logging in.
pub(super) fn endpoint(connections: &Connections) -> Result<Endpoint, Failure> {
    resolve(&connections.config).map(|resolved| resolved.endpoint)
}
