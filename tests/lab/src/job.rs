//! Pods of Jobs, run once on this machine: the container's own command with its own variables and files, and with a
//! token of its own ServiceAccount. kwok says of every such Pod that it has succeeded; what it really does is done
//! here, when a test asks for it.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::Api;

use crate::cluster::Cluster;
use crate::environment::{Here, variables};
use crate::error::{Error, Result};
use crate::lab;
use crate::projection::{Problem, Root};

/// What a container said, and how it ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub success: bool,
    /// Output and errors.
    pub said: String,
}

impl Cluster {
    /// Makes a Job of a CronJob, as `kubectl create job --from` does, and runs its Pod.
    pub fn run_cron_job(&self, namespace: &str, name: &str) -> Result<Ran> {
        let nth = self.jobs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let job = format!("by-hand-{nth}");
        let from = format!("--from=cronjob/{name}");
        self.kubectl(&["create", "job", &job, &from, "-n", namespace])?;
        let label = format!("job-name={job}");
        let ask = ["get", "pods", "-n", namespace, "-l", &label, "-o", "name"];
        let mut pod = String::new();
        self.wait_until("the Job's Pod", || {
            pod = self.kubectl(&ask).unwrap_or_default().trim().trim_start_matches("pod/").to_owned();
            !pod.is_empty()
        })?;
        self.run_pod(namespace, &pod)
    }

    /// Runs the one container of a Pod until it ends. It must be of programs that this machine has.
    pub fn run_pod(&self, namespace: &str, name: &str) -> Result<Ran> {
        let root = Root { dir: self.layout.file("pods").join(name), client: self.client(), plain_envoy: false };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let prepared = lab::block(self.runtime(), async move {
            let pods: Api<Pod> = Api::namespaced(root.client.clone(), &namespace);
            let pod = pods.get(&name).await.map_err(|error| crate::error::describe(&error))?;
            root.project(&pod, true).await.map_err(|problem| match problem {
                Problem::Missing(why) | Problem::Failed(why) => why,
            })?;
            let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).cloned().unwrap_or_default();
            let here = Here { client: &root.client, pod: &pod, ip: "127.0.0.1", limits: &[] };
            let env = variables(&here, &container).await?;
            Ok::<_, String>((root, container, env))
        });
        let (root, container, env) = prepared.map_err(Error::Usage)?;
        self.start_container(&root, &container, env)
    }

    fn start_container(&self, root: &Root, container: &Container, env: Vec<(String, String)>) -> Result<Ran> {
        let here = |text: &String| on_this_machine(root, container, text);
        let mut words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let program = words.next().ok_or_else(|| Error::Usage("the image's own command is not known here".into()))?;
        let address = self.layout.api_url();
        let address = address.trim_start_matches("https://");
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
        let mut command = Command::new(program);
        command.args(words.map(here)).current_dir(&root.dir).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        command.envs(env.iter().map(|(name, value)| (name, here(value))));
        let ended = command.output().map_err(|source| Error::Spawn { name: program.clone(), source })?;
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(Ran { success: ended.status.success(), said })
    }
}

/// A path under one of the container's mounts, in the folder that stands for the Pod's root.
fn on_this_machine(root: &Root, container: &Container, text: &str) -> String {
    let mut mounts = container.volume_mounts.iter().flatten();
    match mounts.any(|mount| Path::new(text).starts_with(&mount.mount_path)) {
        true => root.path(text).display().to_string(),
        false => text.to_owned(),
    }
}
