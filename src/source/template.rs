//! `terraform-provider-mesh template`: what `helm template` prints, for reviews and for judging us.
use std::io::Write as _;
use std::process::ExitCode;

use super::{Location, Request, Sources};
use crate::chart::{self, Capabilities, Chart, KubeVersion, Release, Values};

pub const USAGE: &str = "\
terraform-provider-mesh template NAME CHART [options]

Prints the manifests of a chart. CHART is a folder, a .tgz file, an oci:// reference that ends with the chart's name, or
with --repo the name of a chart in a Helm repository.

  -n, --namespace NAMESPACE   namespace of the release (default \"default\")
  -f, --values FILE           values in YAML, - for standard input; may be repeated, later ones win
      --set KEY=VALUE         a value as helm's --set takes it; may be repeated
      --set-string KEY=VALUE  the same, always text
      --version VERSION       version of the chart
      --repo URL              Helm repository
      --kube-version VERSION  Kubernetes version to render for
  -a, --api-versions VERSION  further API versions to render for; may be repeated
      --is-upgrade            tell the chart that this is an upgrade
";

/// Runs the subcommand with the arguments that follow its name.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let (text, code) = match Arguments::parse(arguments).and_then(|arguments| arguments.print()) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(message) => {
            let _ = std::io::stderr().write_all(format!("Error: {message}\n").as_bytes());
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough is no failure.
        Ok(()) => code,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(_) => ExitCode::FAILURE,
    }
}

#[derive(Default)]
struct Arguments {
    name: String,
    chart: String,
    namespace: Option<String>,
    files: Vec<String>,
    sets: Vec<(bool, String)>,
    version: Option<String>,
    repository: Option<String>,
    kube_version: Option<String>,
    api_versions: Vec<String>,
    is_upgrade: bool,
}

impl Arguments {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut positional = Vec::new();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') {
                positional.push(argument);
                continue;
            }
            let (option, attached) = match argument.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (argument.clone(), None),
            };
            if matches!(option.as_str(), "--is-upgrade") {
                parsed.is_upgrade = true;
                continue;
            }
            if matches!(option.as_str(), "-h" | "--help") {
                return Err(format!("usage:\n{USAGE}"));
            }
            let value = attached.or_else(|| rest.next()).ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "-n" | "--namespace" => parsed.namespace = Some(value),
                "-f" | "--values" => parsed.files.push(value),
                "--set" => parsed.sets.push((false, value)),
                "--set-string" => parsed.sets.push((true, value)),
                "--version" => parsed.version = Some(value),
                "--repo" => parsed.repository = Some(value),
                "--kube-version" => parsed.kube_version = Some(value),
                "-a" | "--api-versions" => parsed.api_versions.extend(value.split(',').map(str::to_owned)),
                _ => return Err(format!("unknown option {option}\n\n{USAGE}")),
            }
        }
        match <[String; 2]>::try_from(positional) {
            Ok([name, chart]) => Ok(Self { name, chart, ..parsed }),
            Err(_) => Err(format!("a name and a chart are needed\n\n{USAGE}")),
        }
    }

    fn print(&self) -> Result<String, String> {
        let chart = self.load()?;
        let mut values = Values::default();
        for file in &self.files {
            let text =
                if file == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
            let text = text.map_err(|error| format!("cannot read {file}: {error}"))?;
            values.merge(Values::from_yaml(&text).map_err(|error| format!("failed to parse {file}: {error}"))?);
        }
        for (as_text, set) in &self.sets {
            let done = if *as_text { values.set_string(set) } else { values.set(set) };
            done.map_err(|error| error.to_string())?;
        }
        let mut capabilities = Capabilities::default();
        // As Helm does, whether they are there already or not.
        capabilities.api_versions.extend(self.api_versions.iter().cloned());
        if let Some(version) = &self.kube_version {
            capabilities.kube_version = KubeVersion::parse(version).map_err(|error| error.to_string())?;
        }
        let namespace = self.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let release = Release { name: self.name.clone(), namespace, is_upgrade: self.is_upgrade };
        chart::template(&chart, &release, &values, &capabilities).map_err(|error| error.to_string())
    }

    fn load(&self) -> Result<std::sync::Arc<Chart>, String> {
        let text = self.repository.as_ref().unwrap_or(&self.chart);
        let location = Location::parse(text).map_err(|error| with_causes(&error))?;
        let name = match &location {
            Location::Directory(path) => return Chart::from_dir(path).map(Into::into).map_err(|e| e.to_string()),
            Location::Archive(path) => {
                let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                return Chart::from_archive(&bytes).map(Into::into).map_err(|error| error.to_string());
            }
            Location::Repository(_) if self.repository.is_none() => {
                return Err("a chart in a repository is named by --repo URL and its name".to_owned());
            }
            Location::Repository(_) => self.chart.clone(),
            Location::Registry(url) => url.path().rsplit('/').next().unwrap_or_default().to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        let request = Request {
            location: &location,
            name: &name,
            version: self.version.as_deref(),
            digest: None,
            credentials: None,
        };
        runtime.block_on(Sources::default().chart(&request)).map_err(|error| with_causes(&error))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
