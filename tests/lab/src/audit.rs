//! Requests counted from the API server's audit log.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// One request that a cluster's API server answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// The program, without its version: `terraform-provider-mesh`, `kubectl`, `helm`, `istiod`'s `pilot-discovery`.
    pub agent: String,
    pub user: String,
    /// Kubernetes' verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    pub status: u16,
}

/// The requests of a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// Those whose user agent begins with the text.
    pub fn by_agent(&self, prefix: &str) -> Requests {
        self.only(|request| request.agent.starts_with(prefix))
    }

    pub fn by_verb(&self, verb: &str) -> Requests {
        self.only(|request| request.verb == verb)
    }

    pub fn by_resource(&self, resource: &str) -> Requests {
        self.only(|request| request.resource == resource)
    }

    pub fn only(&self, wanted: impl Fn(&Request) -> bool) -> Requests {
        Requests(self.0.iter().filter(|request| wanted(request)).cloned().collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts by user agent and verb.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for request in &self.0 {
            *counts.entry((request.agent.clone(), request.verb.clone())).or_default() += 1;
        }
        counts
    }

    /// A line a request, for a test's failure message.
    pub fn listing(&self) -> String {
        self.0.iter().map(|r| format!("{} {} {} {}\n", r.status, r.verb, r.uri, r.agent)).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// Reads the log from an offset on; returns the requests and where the log ends now.
pub(crate) fn read(log: &Path, from: u64) -> std::io::Result<(Requests, u64)> {
    let mut file = match File::open(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Requests::default(), 0)),
        other => other?,
    };
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
    let (mut requests, mut seen, mut at, mut line) = (Vec::new(), HashSet::new(), from, String::new());
    loop {
        line.clear();
        let read = reader.read_line(&mut line)?;
        if read == 0 || !line.ends_with('\n') {
            break; // a line still being written belongs to the next reading
        }
        at += read as u64;
        let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
        // A watch is told twice: when it begins and when it ends.
        if seen.insert(event.audit_id.clone()) {
            requests.push(request(event));
        }
    }
    Ok((Requests(requests), at))
}

/// Where the log ends now.
pub(crate) fn end(log: &Path) -> u64 {
    std::fs::metadata(log).map(|meta| meta.len()).unwrap_or(0)
}

fn request(event: Event) -> Request {
    let object = event.object_ref.unwrap_or_default();
    let resource = match object.subresource.as_str() {
        "" => object.resource,
        sub => format!("{}/{sub}", object.resource),
    };
    let agent = event.user_agent.split(['/', ' ']).next().unwrap_or_default().to_owned();
    Request {
        agent,
        user: event.user.username,
        verb: event.verb,
        resource,
        namespace: object.namespace,
        name: object.name,
        uri: event.request_uri,
        status: event.response_status.map_or(0, |status| status.code),
    }
}
