//! A pod's files, as a kubelet would lay them out: Secrets, ConfigMaps and tokens under the mount paths,
//! replaced all at once by a swapped link when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, SecretVolumeSource,
    ServiceAccount, Volume, VolumeProjection,
};
use kube::api::{Api, PostParams};

/// The files of one volume, by relative path; `None` for a directory of the pod's own.
type Files = Option<BTreeMap<String, Vec<u8>>>;

#[derive(Debug)]
pub(crate) enum Problem {
    /// As a kubelet words it while the container is creating.
    Missing(String),
    Failed(String),
}

/// Where a pod's mounts are on this machine.
pub(crate) struct Root {
    pub dir: PathBuf,
    pub client: kube::Client,
    /// Whether an istiod is told that its proxies are upstream Envoys.
    pub plain_envoy: bool,
}

/// Where client libraries look for the pod's own token.
pub(crate) const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Root {
    /// Lays out every volume; what has not changed is not touched.
    pub async fn project(&self, pod: &Pod, tokens: bool) -> Result<(), Problem> {
        let spec = pod.spec.as_ref().ok_or_else(|| Problem::Failed("the pod has no spec".into()))?;
        let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
        for volume in spec.volumes.iter().flatten() {
            let mounts = containers().flat_map(|c| c.volume_mounts.iter().flatten());
            let mounts: BTreeSet<&str> =
                mounts.filter(|mount| mount.name == volume.name).map(|mount| mount.mount_path.as_str()).collect();
            if mounts.is_empty() || (!tokens && has_token(volume)) {
                continue;
            }
            let files = self.files(pod, volume).await?;
            for mount in mounts {
                write(&self.path(mount), &files).map_err(|error| Problem::Failed(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// A path inside the pod, on this machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.join(inside.trim_start_matches('/'))
    }

    async fn files(&self, pod: &Pod, volume: &Volume) -> Result<Files, Problem> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(source) = &volume.secret {
            return self.secret(namespace, source).await.map(Some);
        }
        if let Some(source) = &volume.config_map {
            return self.config_map(namespace, source).await.map(Some);
        }
        if let Some(source) = &volume.downward_api {
            return Ok(Some(told_downwards(pod, source.items.as_deref().unwrap_or_default())));
        }
        let Some(projected) = &volume.projected else { return Ok(None) };
        let mut files = BTreeMap::new();
        for source in projected.sources.iter().flatten() {
            files.extend(self.projection(pod, namespace, source).await?);
        }
        Ok(Some(files))
    }

    async fn projection(
        &self,
        pod: &Pod,
        namespace: &str,
        source: &VolumeProjection,
    ) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        if let Some(token) = &source.service_account_token {
            let audience = token.audience.clone().into_iter().collect();
            let text = self.token(pod, audience, token.expiration_seconds.unwrap_or(3600)).await?;
            return Ok(BTreeMap::from([(token.path.clone(), text.into_bytes())]));
        }
        if let Some(secret) = &source.secret {
            let source = SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                items: secret.items.clone(),
                optional: secret.optional,
                ..Default::default()
            };
            return self.secret(namespace, &source).await;
        }
        if let Some(map) = &source.config_map {
            let source = ConfigMapVolumeSource {
                name: map.name.clone(),
                items: map.items.clone(),
                optional: map.optional,
                ..Default::default()
            };
            return self.config_map(namespace, &source).await;
        }
        let items = source.downward_api.as_ref().and_then(|source| source.items.as_deref());
        Ok(told_downwards(pod, items.unwrap_or_default()))
    }

    /// A token of the pod's own account, bound to the pod.
    pub async fn token(&self, pod: &Pod, audiences: Vec<String>, seconds: i64) -> Result<String, Problem> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences,
                expiration_seconds: Some(seconds.max(600)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..Default::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let answer = api.create_token_request(account, &PostParams::default(), &request).await.map_err(failed)?;
        Ok(answer.status.map(|status| status.token).unwrap_or_default())
    }

    async fn secret(&self, namespace: &str, source: &SecretVolumeSource) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let Some(secret) = api.get_opt(name).await.map_err(failed)? else {
            return absent("secret", name, source.optional);
        };
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        Ok(select(data, source.items.as_deref()))
    }

    async fn config_map(
        &self,
        namespace: &str,
        source: &ConfigMapVolumeSource,
    ) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let Some(map) = api.get_opt(&source.name).await.map_err(failed)? else {
            return absent("configmap", &source.name, source.optional);
        };
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let text = text.map(|(key, value)| match self.plain_envoy && key == "mesh" {
            true => (key, without_metrics(&value).into_bytes()),
            false => (key, value),
        });
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Ok(select(text.chain(binary).collect(), source.items.as_deref()))
    }
}

/// A mesh's configuration (YAML) without `defaultProviders`, which ask for metrics by a filter of Istio's own.
pub(crate) fn without_metrics(mesh: &[u8]) -> String {
    let text = String::from_utf8_lossy(mesh);
    let mut within = false;
    let kept = text.lines().filter(|line| {
        let top = !line.starts_with([' ', '-', '#']) && !line.is_empty();
        within = if top { line.starts_with("defaultProviders:") } else { within };
        !within
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// The names of Secrets and ConfigMaps whose change concerns the pod.
pub(crate) fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut secrets, mut maps) = (Vec::new(), Vec::new());
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            secrets.extend(source.secret.iter().map(|source| source.name.clone()));
            maps.extend(source.config_map.iter().map(|source| source.name.clone()));
        }
    }
    (secrets, maps)
}

/// What a `fieldRef` says.
pub(crate) fn field_value(pod: &Pod, path: &str) -> Option<String> {
    let value = serde_json::to_value(pod).ok()?;
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = value.pointer(&format!("/{}", map.replace('.', "/")))?;
        return map.get(key)?.as_str().map(str::to_owned);
    }
    match value.pointer(&format!("/{}", path.replace('.', "/")))? {
        // Labels and annotations, all of them: one line each.
        serde_json::Value::Object(map) => Some(map.iter().map(|(key, value)| format!("{key}={value}\n")).collect()),
        value => value.as_str().map(str::to_owned),
    }
}

fn told_downwards(pod: &Pod, items: &[DownwardAPIVolumeFile]) -> BTreeMap<String, Vec<u8>> {
    let told = items.iter().map(|item| {
        let value = item.field_ref.as_ref().and_then(|field| field_value(pod, &field.field_path));
        (item.path.clone(), value.unwrap_or_default().into_bytes())
    });
    told.collect()
}

/// How often a pod's tokens are made anew: as a kubelet does, when four fifths of the shortest lifetime are over.
pub(crate) fn token_renewal(pod: &Pod, longest: Option<Duration>) -> Duration {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|all| all.sources.iter().flatten());
    let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    let asked = tokens.map(|token| Duration::from_secs(token.expiration_seconds.unwrap_or(3600).max(600) as u64));
    asked.chain(longest).min().unwrap_or(Duration::from_secs(3600)).min(Duration::from_secs(1500)) * 4 / 5
}

fn has_token(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources.into_iter().any(|source| source.service_account_token.is_some())
}

fn absent(kind: &str, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    match optional {
        Some(true) => Ok(BTreeMap::new()),
        _ => Err(Problem::Missing(format!("{kind} \"{name}\" not found"))),
    }
}

fn select(data: BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>) -> BTreeMap<String, Vec<u8>> {
    match items {
        None => data,
        Some(items) => {
            items.iter().filter_map(|item| Some((item.path.clone(), data.get(&item.key)?.clone()))).collect()
        }
    }
}

fn failed(error: kube::Error) -> Problem {
    Problem::Failed(crate::error::describe(&error))
}

/// `<mount>/<file>` links to `..data/<file>`, and `..data` to a folder that is never changed.
fn write(mount: &Path, files: &Files) -> std::io::Result<()> {
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(mount)?;
    let Some(files) = files else { return Ok(()) };
    let data = mount.join("..data");
    let same = files.iter().all(|(name, content)| fs::read(data.join(name)).is_ok_and(|old| old == *content));
    let old = fs::read_link(&data).ok();
    if same && old.as_ref().is_some_and(|_| count(&data) == files.len()) {
        return Ok(());
    }
    let generation = format!("..generation_{}", GENERATION.fetch_add(1, Ordering::Relaxed));
    for (name, content) in files {
        let file = mount.join(&generation).join(name);
        fs::create_dir_all(file.parent().unwrap_or(mount))?;
        fs::write(file, content)?;
    }
    fs::create_dir_all(mount.join(&generation))?;
    let next = mount.join("..data_next");
    let _ = fs::remove_file(&next);
    std::os::unix::fs::symlink(&generation, &next)?;
    fs::rename(&next, &data)?;
    for entry in fs::read_dir(mount)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !files.keys().any(|file| file.split('/').next() == Some(&name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for name in files.keys().filter_map(|file| file.split('/').next()) {
        let link = mount.join(name);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link)?;
        }
    }
    if let Some(old) = old {
        let _ = fs::remove_dir_all(mount.join(old));
    }
    Ok(())
}

fn count(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::without_metrics;

    #[test]
    fn only_the_default_providers_leave_a_mesh() {
        let mesh = "defaultConfig:\n  meshId: m\ndefaultProviders:\n  metrics:\n  - prometheus\ntrustDomain: a\n";
        assert_eq!(without_metrics(mesh.as_bytes()), "defaultConfig:\n  meshId: m\ntrustDomain: a\n");
    }
}
