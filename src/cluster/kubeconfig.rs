//! Kubeconfigs as client-go reads them: what is empty is unset, base64 may be wrapped, and of several credentials the
//! same one wins. Reads files; runs and connects to nothing.
//!
//! The kube crate's own reader tells empty from unset, orders credentials otherwise and drops parts of an
//! impersonation. kubectl is the judge of this one (`tests/integration/kubeconfigs.rs`); where it is more lenient a
//! comment says why.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Options;

use super::config::Secret;
use super::error::Failure;
use crate::files;

/// The largest kubeconfigs there are name a few hundred clusters.
const MAX_BYTES: u64 = 16 << 20;

/// Cluster extension whose content an exec plugin is handed.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// One kubeconfig, or several laid over one another.
#[derive(Default)]
pub(super) struct Kubeconfig {
    clusters: BTreeMap<String, ClusterEntry>,
    users: BTreeMap<String, UserEntry>,
    contexts: BTreeMap<String, ContextEntry>,
    pub current_context: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct ClusterEntry {
    pub server: Option<String>,
    pub insecure_skip_tls_verify: Option<bool>,
    pub certificate_authority: Option<String>,
    pub certificate_authority_data: Option<String>,
    pub proxy_url: Option<String>,
    pub tls_server_name: Option<String>,
    extensions: Option<Vec<Option<Extension>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Extension {
    name: Option<String>,
    extension: Option<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct UserEntry {
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    pub token_file: Option<String>,
    pub client_certificate: Option<String>,
    pub client_certificate_data: Option<String>,
    pub client_key: Option<String>,
    pub client_key_data: Option<Secret>,
    #[serde(rename = "as")]
    pub impersonate: Option<String>,
    #[serde(rename = "as-uid")]
    pub impersonate_uid: Option<String>,
    #[serde(rename = "as-groups")]
    pub impersonate_groups: Option<Vec<Option<String>>>,
    #[serde(rename = "as-user-extra")]
    pub impersonate_extra: Option<BTreeMap<String, Option<Vec<Option<String>>>>>,
    pub auth_provider: Option<AuthProvider>,
    pub exec: Option<ExecEntry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthProvider {
    pub name: Option<String>,
    pub config: Option<BTreeMap<String, Option<Secret>>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExecEntry {
    pub api_version: Option<String>,
    pub command: Option<String>,
    pub args: Option<Vec<Option<String>>>,
    pub env: Option<Vec<Option<ExecVariable>>>,
    pub install_hint: Option<String>,
    pub interactive_mode: Option<String>,
    pub provide_cluster_info: Option<bool>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecVariable {
    pub name: Option<String>,
    pub value: Option<Secret>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct ContextEntry {
    cluster: Option<String>,
    user: Option<String>,
}

/// What a context names.
pub(super) struct Chosen {
    pub cluster: ClusterEntry,
    pub user: UserEntry,
    /// The user entry's name.
    pub origin: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    clusters: Option<Vec<Option<NamedCluster>>>,
    users: Option<Vec<Option<NamedUser>>>,
    contexts: Option<Vec<Option<NamedContext>>>,
    current_context: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: Option<String>,
    cluster: Option<ClusterEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: Option<String>,
    user: Option<UserEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: Option<String>,
    context: Option<ContextEntry>,
}

impl Kubeconfig {
    /// Reads a file; relative paths in it are meant from where it lies.
    pub fn read(path: &Path) -> Result<Kubeconfig, Failure> {
        let failure =
            |detail: String, missing| Failure::ConfigFile { path: path.display().to_string(), detail, missing };
        let bytes =
            bounded(path).map_err(|error| failure(error.to_string(), error.kind() == std::io::ErrorKind::NotFound))?;
        let text = decoded(&bytes).ok_or_else(|| failure("it is no text".to_owned(), false))?;
        let mut read = Kubeconfig::parse(&text).map_err(|detail| failure(detail, false))?;
        if let Some(folder) = path.parent() {
            read.clusters.values_mut().for_each(|cluster| cluster.start_from(folder));
            read.users.values_mut().for_each(|user| user.start_from(folder));
        }
        Ok(read)
    }

    /// Reads a text; the error tells the place and never quotes it, since a token may stand there.
    pub fn parse(text: &str) -> Result<Kubeconfig, String> {
        let mut options = Options::default();
        // kubectl takes `!!binary` for the base64 that is meant in `…-data`.
        options.ignore_binary_tag_for_string = true;
        options.with_snippet = false;
        // As kubectl: of a key that stands twice the last counts.
        options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
        // As kubectl: what follows a second `---` is another document, and not read.
        let mut bytes = text.as_bytes();
        let first = serde_saphyr::read_with_options::<_, Option<File>>(&mut bytes, options).next();
        let file = first.transpose().map_err(|error| match error.location() {
            Some(at) => format!("it is not a kubeconfig in YAML (line {}, column {})", at.line(), at.column()),
            None => "it is not a kubeconfig in YAML".to_owned(),
        })?;
        let file = file.flatten().unwrap_or_default();
        let mut read = Kubeconfig { current_context: given(file.current_context), ..Kubeconfig::default() };
        for entry in file.clusters.into_iter().flatten().flatten() {
            named(&mut read.clusters, "cluster", entry.name, entry.cluster)?;
        }
        for entry in file.users.into_iter().flatten().flatten() {
            named(&mut read.users, "user", entry.name, entry.user)?;
        }
        for entry in file.contexts.into_iter().flatten().flatten() {
            named(&mut read.contexts, "context", entry.name, entry.context)?;
        }
        Ok(read)
    }

    /// The first file that says something wins, entry by entry.
    pub fn or(mut self, later: Kubeconfig) -> Kubeconfig {
        fn add<T>(entries: &mut BTreeMap<String, T>, later: BTreeMap<String, T>) {
            for (name, entry) in later {
                entries.entry(name).or_insert(entry);
            }
        }
        add(&mut self.clusters, later.clusters);
        add(&mut self.users, later.users);
        add(&mut self.contexts, later.contexts);
        self.current_context = self.current_context.or(later.current_context);
        self
    }

    /// The cluster and user of a context, or of the current one.
    pub fn choose(&self, context: Option<&str>) -> Result<Chosen, String> {
        let name = context.or(self.current_context.as_deref()).filter(|name| !name.is_empty());
        let name = name.ok_or("the kubeconfig has no current context, and `config_context` is not set")?;
        let Some(context) = self.contexts.get(name) else {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            return Err(format!("the kubeconfig has no context {name:?}; it has: {}", names.join(", ")));
        };
        let lacks = |kind: &str, wanted: &str| {
            format!("the context {name:?} names the {kind} {wanted:?}, which the kubeconfig lacks")
        };
        let wanted = context.cluster.clone().unwrap_or_default();
        let cluster = self.clusters.get(&wanted).cloned().ok_or_else(|| lacks("cluster", &wanted))?;
        let origin = given(context.user.clone());
        let user = match &origin {
            None => UserEntry::default(),
            Some(wanted) => self.users.get(wanted).cloned().ok_or_else(|| lacks("user", wanted))?,
        };
        Ok(Chosen { cluster: cluster.with_empties_unset(), user: user.with_empties_unset(), origin })
    }
}

impl ClusterEntry {
    fn with_empties_unset(self) -> ClusterEntry {
        ClusterEntry {
            server: given(self.server),
            certificate_authority: given(self.certificate_authority),
            certificate_authority_data: given(self.certificate_authority_data).map(|data| without_line_ends(&data)),
            proxy_url: given(self.proxy_url),
            tls_server_name: given(self.tls_server_name),
            ..self
        }
    }

    fn start_from(&mut self, folder: &Path) {
        start_from(&mut self.certificate_authority, folder);
    }

    /// What is wrong with it, as kubectl judges.
    pub fn check(&self) -> Result<(), String> {
        let has_authority = self.certificate_authority.is_some() || self.certificate_authority_data.is_some();
        if self.certificate_authority.is_some() && self.certificate_authority_data.is_some() {
            return Err(both("cluster", "certificate-authority", "certificate-authority-data"));
        }
        if has_authority && self.insecure_skip_tls_verify == Some(true) {
            let detail = "the cluster has a certificate authority and insecure-skip-tls-verify: keep one of them";
            return Err(detail.to_owned());
        }
        Ok(())
    }

    /// What an exec plugin that asks for it is told of the cluster.
    pub fn exec_config(&self) -> Option<&Value> {
        let mut extensions = self.extensions.iter().flatten().flatten();
        extensions.find(|extension| extension.name.as_deref() == Some(EXEC_EXTENSION))?.extension.as_ref()
    }
}

impl UserEntry {
    fn with_empties_unset(self) -> UserEntry {
        let secret = |secret: Option<Secret>| secret.filter(|secret| !secret.expose().is_empty());
        UserEntry {
            username: given(self.username),
            password: secret(self.password),
            token: secret(self.token),
            token_file: given(self.token_file),
            client_certificate: given(self.client_certificate),
            client_certificate_data: given(self.client_certificate_data).map(|data| without_line_ends(&data)),
            client_key: given(self.client_key),
            client_key_data: secret(self.client_key_data).map(|data| Secret::new(without_line_ends(data.expose()))),
            impersonate: given(self.impersonate),
            impersonate_uid: given(self.impersonate_uid),
            impersonate_groups: self.impersonate_groups.filter(|groups| !groups.is_empty()),
            impersonate_extra: self.impersonate_extra.filter(|extra| !extra.is_empty()),
            ..self
        }
    }

    fn start_from(&mut self, folder: &Path) {
        for path in [&mut self.token_file, &mut self.client_certificate, &mut self.client_key] {
            start_from(path, folder);
        }
        // A bare command is looked for in PATH.
        if let Some(exec) = self.exec.as_mut().filter(|exec| exec.command.as_ref().is_some_and(|c| c.contains('/'))) {
            start_from(&mut exec.command, folder);
        }
    }

    pub fn has_certificate(&self) -> bool {
        self.client_certificate.is_some() || self.client_certificate_data.is_some()
    }

    /// What is wrong with it, as kubectl judges.
    pub fn check(&self) -> Result<(), String> {
        if self.has_certificate() {
            if self.client_certificate.is_some() && self.client_certificate_data.is_some() {
                return Err(both("user", "client-certificate", "client-certificate-data"));
            }
            match (&self.client_key, &self.client_key_data) {
                (Some(_), Some(_)) => return Err(both("user", "client-key", "client-key-data")),
                (None, None) => return Err("the user has a client certificate and no key for it".to_owned()),
                _ => {}
            }
        }
        if self.token.is_some() && (self.username.is_some() || self.password.is_some()) {
            return Err("the user has a token as well as a user name or password: keep one of them".to_owned());
        }
        if self.token_file.is_some() && self.username.is_some() {
            return Err("the user has a token file as well as a user name: keep one of them".to_owned());
        }
        if self.exec.is_some() && self.auth_provider.is_some() {
            return Err("the user has an exec plugin as well as an auth provider: keep one of them".to_owned());
        }
        let more =
            self.impersonate_uid.is_some() || self.impersonate_groups.is_some() || self.impersonate_extra.is_some();
        if more && self.impersonate.is_none() {
            return Err("the user has as-uid, as-groups or as-user-extra, but not `as`".to_owned());
        }
        Ok(())
    }
}

fn both(entry: &str, one: &str, other: &str) -> String {
    format!("the {entry} has {one} as well as {other}: keep one of them")
}

/// client-go knows no difference between an empty text and none, and templates write the former.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Go's base64 passes over them, and tools wrap at 64 or 76 characters.
fn without_line_ends(data: &str) -> String {
    data.replace(['\n', '\r'], "")
}

fn named<T: Default>(
    entries: &mut BTreeMap<String, T>,
    kind: &str,
    name: Option<String>,
    entry: Option<T>,
) -> Result<(), String> {
    let name = name.unwrap_or_default();
    if entries.contains_key(&name) {
        return Err(format!("it has two entries for the {kind} {name:?}"));
    }
    entries.insert(name, entry.unwrap_or_default());
    Ok(())
}

fn start_from(path: &mut Option<String>, folder: &Path) {
    if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
        *path = folder.join(&*path).to_string_lossy().into_owned();
    }
}

/// A file's bytes, as far as anything sensible goes.
pub(super) fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    files::read(path, MAX_BYTES)
}

/// Text by its byte order mark, or UTF-8. PowerShell's `>` writes UTF-16.
fn decoded(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Option<Vec<u16>> = bytes.chunks(2).map(|pair| Some(unit(pair.try_into().ok()?))).collect();
        String::from_utf16(&units?).ok()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// Header names and values of an impersonation.
pub(super) fn impersonation(user: &UserEntry) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let Some(name) = &user.impersonate else { return headers };
    headers.push(("impersonate-user".to_owned(), name.clone()));
    headers.extend(user.impersonate_uid.iter().map(|uid| ("impersonate-uid".to_owned(), uid.clone())));
    let groups = user.impersonate_groups.iter().flatten();
    headers.extend(groups.map(|group| ("impersonate-group".to_owned(), group.clone().unwrap_or_default())));
    for (key, values) in user.impersonate_extra.iter().flatten() {
        let name = format!("impersonate-extra-{}", header_key(key));
        let values = values.iter().flatten();
        headers.extend(values.map(|value| (name.clone(), value.clone().unwrap_or_default())));
    }
    headers
}

/// A key of `as-user-extra` as part of a header's name, which knows no capitals: the API server undoes it.
fn header_key(key: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    key.bytes().map(|b| if fits(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_in_the_middle_of_a_character_is_no_text() {
        assert_eq!(decoded(b"\xff\xfea\0b"), None);
        assert_eq!(decoded(b"\xff\xfea\0").as_deref(), Some("a"));
        assert_eq!(decoded(b"\xfe\xff\0a").as_deref(), Some("a"));
        assert_eq!(decoded(b"\xef\xbb\xbfa").as_deref(), Some("a"));
        assert_eq!(decoded(b"\xff"), None);
    }

    #[test]
    fn entries_of_one_name_are_refused_in_one_file_and_laid_over_one_another_in_several() {
        let one = "clusters: [{name: a, cluster: {server: x}}]\ncurrent-context: ''\n";
        let two = "clusters: [{name: a, cluster: {server: y}}, {name: b}]\ncurrent-context: c\n";
        let merged = Kubeconfig::parse(one).unwrap().or(Kubeconfig::parse(two).unwrap());
        assert_eq!(merged.clusters["a"].server.as_deref(), Some("x"));
        assert_eq!(merged.current_context.as_deref(), Some("c"));
        let twice = "users: [{name: a, user: {token: very-secret}}, {name: a, user: {token: very-secret}}]";
        let Err(error) = Kubeconfig::parse(twice) else { panic!("read") };
        assert_eq!(error, "it has two entries for the user \"a\"");
    }

    #[test]
    fn keys_of_an_impersonation_survive_a_header() {
        assert_eq!(header_key("acme.com/Reason%"), "acme.com%2FReason%25");
    }
}
