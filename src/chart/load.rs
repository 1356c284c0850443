//! A chart from its files: directories and archives, neither of which is trusted.
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::{Asks, Chart, Error, Values, number, yaml};

/// Of a chart with all its subcharts, unpacked. Istio's largest is 1 MB. Helm lets 100 MiB through, and as much again
/// for each packed subchart.
const MAX_CHART: u64 = 64 << 20;
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 20;

/// What a whole tree of charts may still take up; a packed subchart is unpacked into the same room as what it was
/// packed in.
struct Room {
    bytes: u64,
    files: usize,
}

impl Room {
    const WHOLE: Self = Self { bytes: MAX_CHART, files: MAX_FILES };

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }

    fn take_file(&mut self) -> Result<(), Error> {
        self.files = self.files.checked_sub(1).ok_or_else(too_large)?;
        Ok(())
    }
}

impl Chart {
    /// Loads an unpacked chart. Files named in `.helmignore` are left out, and a symbolic link must not lead outside.
    pub fn from_dir(path: &Path) -> Result<Self, Error> {
        Self::from_dir_among(path, path)
    }

    /// The same for a chart among others, in whose folder a linked file may be: Istio's own charts in development share
    /// some. Any other file is no part of a chart, and may be what this process alone can read.
    pub fn from_dir_among(path: &Path, charts: &Path) -> Result<Self, Error> {
        let root = path.canonicalize().map_err(|e| unreadable(path, &e))?;
        let bounds = charts.canonicalize().map_err(|e| unreadable(charts, &e))?;
        if !root.is_dir() {
            return Err(Error::Load(format!("{} is not a directory", path.display())));
        }
        if !root.starts_with(&bounds) {
            return Err(leads_outside(path, charts));
        }
        let mut reader = DirectoryReader {
            root: &root,
            bounds: &bounds,
            ignored: Ignore::parse(""),
            files: BTreeMap::new(),
            room: Room::WHOLE,
        };
        if let Ok(path) = root.join(".helmignore").canonicalize() {
            let text = reader.content(".helmignore", &path)?;
            reader.ignored = Ignore::parse(&String::from_utf8_lossy(&text));
        }
        reader.read(&root, "", 0)?;
        let DirectoryReader { files, mut room, .. } = reader;
        Self::nested(files, &mut room, 0)
    }

    /// Loads a packed chart (`.tgz`).
    pub fn from_archive(bytes: &[u8]) -> Result<Self, Error> {
        let mut room = Room::WHOLE;
        let files = unpack(bytes, &mut room)?;
        Self::nested(files, &mut room, 0)
    }

    /// Loads a chart from its files, names relative to the chart's root.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        let mut room = Room::WHOLE;
        for content in files.values() {
            room.take_file()?;
            room.take(content.len() as u64)?;
        }
        Self::nested(files, &mut room, 0)
    }

    pub fn name(&self) -> &str {
        self.text("name")
    }

    pub fn version(&self) -> &str {
        self.text("version")
    }

    /// SHA-256 over names and contents of its files, in hexadecimal: of a folder it tells whether somebody has changed
    /// it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The texts in the folder `crds`, which Helm installs as they are.
    pub fn definitions(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().filter(|(name, _)| name.starts_with("crds/"));
        files.filter_map(|(_, content)| std::str::from_utf8(content).ok())
    }

    /// What it may ask about the cluster when it is rendered with these values.
    pub fn asks(&self, values: &Values) -> Asks {
        self.asks.or(Asks::of_values(values))
    }

    fn asked_by_its_files(&self) -> Asks {
        let demands = Asks { version: !self.text("kubeVersion").is_empty(), api_versions: false };
        let templates = self.templates.iter().map(|(_, text)| Asks::of(text));
        // A file may be rendered as well (`tpl`).
        let files = self.files.iter().filter(|(name, _)| !name.ends_with(".md"));
        let files = files.filter_map(|(_, content)| std::str::from_utf8(content).ok()).map(Asks::of);
        let values = [Asks::of_values(&self.values)].into_iter();
        templates
            .chain(files)
            .chain(values)
            .chain(self.dependencies.iter().map(|chart| chart.asks))
            .fold(demands, Asks::or)
    }

    /// A text of Chart.yaml, or nothing.
    pub(super) fn text(&self, key: &str) -> &str {
        self.metadata.get(key).and_then(Json::as_str).unwrap_or_default()
    }

    fn nested(files: BTreeMap<String, Vec<u8>>, room: &mut Room, depth: usize) -> Result<Self, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Load("charts are nested too deeply".to_owned()));
        }
        let Some(metadata) = files.get("Chart.yaml") else {
            return Err(Error::Load("Chart.yaml file is missing".to_owned()));
        };
        let mut chart = Self {
            metadata: read_metadata(metadata)?,
            values: Values::default(),
            schema: None,
            templates: Vec::new(),
            files: BTreeMap::new(),
            dependencies: Vec::new(),
            asks: Asks::default(),
            digest: digest(&files),
        };
        let mut subcharts: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for (name, content) in files {
            match name.as_str() {
                "Chart.yaml" | "Chart.lock" => {}
                "values.yaml" => {
                    let text = utf8(&name, &content)?;
                    chart.values = Values::from_yaml(text)
                        .map_err(|error| Error::Load(format!("cannot load values.yaml: {error}")))?;
                }
                "values.schema.json" => chart.schema = Some(content),
                _ if name.starts_with("templates/") => {
                    let text = utf8(&name, &content)?.to_owned();
                    chart.templates.push((name, text));
                }
                _ => match name.strip_prefix("charts/") {
                    Some(_) if name.ends_with(".prov") => {
                        chart.files.insert(name, content.into());
                    }
                    Some(rest) => {
                        let (subchart, inner) = rest.split_once('/').unwrap_or((rest, ""));
                        subcharts.entry(subchart.to_owned()).or_default().insert(inner.to_owned(), content);
                    }
                    None => {
                        chart.files.insert(name, content.into());
                    }
                },
            }
        }
        chart.takes_requirements()?;
        chart.validate()?;
        for (name, mut files) in subcharts {
            if name.starts_with(['_', '.']) {
                continue;
            }
            let loaded = match files.remove("") {
                Some(archive) if name.ends_with(".tgz") => {
                    unpack(&archive, room).and_then(|files| Self::nested(files, room, depth + 1))
                }
                Some(_) if files.is_empty() => continue,
                _ => Self::nested(files, room, depth + 1),
            };
            let loaded = loaded.map_err(|error| {
                Error::Load(format!("error unpacking subchart {name} in {}: {error}", chart.name()))
            })?;
            chart.dependencies.push(loaded);
        }
        chart.asks = chart.asked_by_its_files();
        Ok(chart)
    }

    /// Charts of the first form list their dependencies in a file of their own.
    fn takes_requirements(&mut self) -> Result<(), Error> {
        let Some(content) = self.files.get("requirements.yaml") else { return Ok(()) };
        let requirements = Values::from_yaml(utf8("requirements.yaml", content)?)
            .map_err(|error| Error::Load(format!("cannot load requirements.yaml: {error}")))?;
        if let Some(dependencies) = requirements.into_map().remove("dependencies") {
            self.metadata.insert("dependencies".to_owned(), dependencies);
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::Load(format!("validation: {what}")));
        if self.text("apiVersion").is_empty() {
            return invalid("chart.metadata.apiVersion is required");
        }
        if self.name().is_empty() {
            return invalid("chart.metadata.name is required");
        }
        if self.name() != self.name().rsplit(['/', '\\']).next().unwrap_or_default() {
            return invalid(&format!("chart.metadata.name {:?} is invalid", self.name()));
        }
        if self.version().is_empty() {
            return invalid("chart.metadata.version is required");
        }
        Ok(())
    }
}

fn digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn utf8<'a>(name: &str, content: &'a [u8]) -> Result<&'a str, Error> {
    std::str::from_utf8(content).map_err(|_| Error::Load(format!("{name} is not UTF-8 text")))
}

/// Chart.yaml, with numbers and booleans turned into text where Helm's structure has text.
fn read_metadata(content: &[u8]) -> Result<Map<String, Json>, Error> {
    let text = utf8("Chart.yaml", content)?;
    let cannot = |why: &dyn std::fmt::Display| Error::Load(format!("cannot load Chart.yaml: {why}"));
    let mut metadata = match yaml::parse(text) {
        Ok(Json::Object(map)) => map,
        Ok(Json::Null) => Map::new(),
        Ok(_) => return Err(cannot(&"not a mapping")),
        Err(error) => return Err(cannot(&error)),
    };
    const TEXTS: [&str; 11] = [
        "name",
        "home",
        "version",
        "description",
        "icon",
        "apiVersion",
        "condition",
        "tags",
        "appVersion",
        "kubeVersion",
        "type",
    ];
    for key in TEXTS {
        let text = match metadata.get(key) {
            Some(Json::Number(n)) => match n.as_f64() {
                Some(f) if n.is_f64() => number::general_f32(f),
                _ => n.to_string(),
            },
            Some(Json::Bool(b)) => b.to_string(),
            Some(Json::Null) => String::new(),
            Some(Json::String(_)) | None => continue,
            Some(_) => return Err(cannot(&format!("{key} is not a string"))),
        };
        metadata.insert(key.to_owned(), Json::String(text));
    }
    if metadata.get("apiVersion").is_none_or(|v| v == "") {
        metadata.insert("apiVersion".to_owned(), Json::from("v1"));
    }
    Ok(metadata)
}

/// Reads the files of an archive, all of which are inside one folder.
fn unpack(bytes: &[u8], room: &mut Room) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let bad = |what: &dyn std::fmt::Display| Error::Load(format!("the archive is damaged or no gzipped tar: {what}"));
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(bad(&"it does not begin as gzip does"));
    }
    // The limit holds for what is unpacked, whatever the headers claim.
    let limit = room.bytes;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes).take(limit));
    let mut files = BTreeMap::new();
    let mut claimed = 0u64;
    for entry in archive.entries().map_err(|e| bad(&e))? {
        let mut entry = entry.map_err(|e| bad(&e))?;
        if !entry.header().entry_type().is_file() {
            // Directories, and links, which nothing in a chart needs.
            continue;
        }
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| Error::Load("the archive has a file whose name is not UTF-8".to_owned()))?;
        let name = inner_name(&path)?;
        room.take_file()?;
        claimed = claimed.saturating_add(entry.size());
        if claimed >= limit {
            return Err(too_large());
        }
        let mut content = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut content).map_err(|e| bad(&e))?;
        if content.len() as u64 != entry.size() {
            return Err(bad(&"it ends inside a file"));
        }
        if content.starts_with(&[0xef, 0xbb, 0xbf]) {
            content.drain(..3);
        }
        files.insert(name, content);
    }
    // The checksum is at the very end, which the tar reader need not have reached.
    let mut rest = archive.into_inner();
    let left = std::io::copy(&mut rest, &mut std::io::sink()).map_err(|e| bad(&e))?;
    if rest.limit() == 0 && left > 0 {
        return Err(too_large());
    }
    // What was unpacked counts, headers and what was passed over included.
    room.take(limit - rest.limit())?;
    if files.is_empty() {
        return Err(Error::Load("no files in chart archive".to_owned()));
    }
    Ok(files)
}

fn too_large() -> Error {
    Error::Load(format!(
        "the chart and its subcharts are larger than the {} MiB and {MAX_FILES} files that are unpacked here",
        MAX_CHART >> 20
    ))
}

/// The name below the archive's one folder; refuses whatever could lead elsewhere.
fn inner_name(path: &str) -> Result<String, Error> {
    let refused = |what: &str| Err(Error::Load(format!("{what}: {path:?}")));
    let path = if path.contains('\\') { path.replace('\\', "/") } else { path.to_owned() };
    let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
    let Some((folder, inner)) = path.split_once('/') else {
        if path == "Chart.yaml" {
            return refused("chart yaml not in base directory");
        }
        return refused("chart illegally contains content outside the base directory");
    };
    if inner.starts_with('/') || folder.is_empty() {
        return refused("chart illegally contains absolute paths");
    }
    if folder == ".." || inner.split('/').any(|part| part == "..") {
        return refused("chart illegally references parent directory");
    }
    if inner.as_bytes().get(1) == Some(&b':') {
        return refused("chart contains illegally named files");
    }
    let parts: Vec<&str> = inner.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return refused("chart illegally contains content outside the base directory");
    }
    Ok(parts.join("/"))
}

struct DirectoryReader<'a> {
    root: &'a Path,
    /// Where linked files may be.
    bounds: &'a Path,
    ignored: Ignore,
    files: BTreeMap<String, Vec<u8>>,
    room: Room,
}

impl DirectoryReader<'_> {
    fn read(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Load(format!("{} is nested too deeply", directory.display())));
        }
        let entries = std::fs::read_dir(directory).map_err(|e| unreadable(directory, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| unreadable(directory, &e))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{prefix}{name}");
            let path = entry.path().canonicalize().map_err(|e| unreadable(&entry.path(), &e))?;
            let inside = path
                .strip_prefix(self.root)
                .is_ok_and(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))));
            if path.is_dir() {
                if self.ignored.matches(&name, true) {
                    continue;
                }
                if !inside {
                    return Err(Error::Load(format!("{name} leads outside the chart's directory")));
                }
                self.read(&path, &format!("{name}/"), depth + 1)?;
            } else if path.is_file() && !self.ignored.matches(&name, false) {
                self.file(name, &path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String, path: &Path) -> Result<(), Error> {
        let mut content = self.content(&name, path)?;
        self.room.take_file()?;
        self.room.take(content.len() as u64)?;
        if content.starts_with(&[0xef, 0xbb, 0xbf]) {
            content.drain(..3);
        }
        self.files.insert(name, content);
        Ok(())
    }

    /// What a file holds, by the path that all links lead to.
    fn content(&self, name: &str, path: &Path) -> Result<Vec<u8>, Error> {
        if !path.starts_with(self.bounds) || !path.is_file() {
            return Err(leads_outside(Path::new(name), self.bounds));
        }
        // Read up to the limit, whatever size the file claims: it may grow.
        let mut content = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
        file.take(self.room.bytes + 1).read_to_end(&mut content).map_err(|e| unreadable(path, &e))?;
        Ok(content)
    }
}

fn leads_outside(what: &Path, folder: &Path) -> Error {
    Error::Load(format!(
        "{} is a link that leads outside {}: put the file itself there",
        what.display(),
        folder.display()
    ))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::Load(format!("cannot read {}: {error}", path.display()))
}

/// The rules of a `.helmignore`.
struct Ignore {
    rules: Vec<Rule>,
}

struct Rule {
    pattern: String,
    negated: bool,
    directories_only: bool,
}

impl Ignore {
    fn parse(text: &str) -> Self {
        // Helm always leaves editors' and its own hidden templates out.
        let lines = text.lines().map(str::trim).chain(["templates/.?*"]);
        let rules = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
                let (directories_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
                Rule { pattern: line.to_owned(), negated, directories_only }
            })
            .collect();
        Self { rules }
    }

    fn matches(&self, name: &str, is_dir: bool) -> bool {
        self.rules.iter().any(|rule| {
            if rule.directories_only && !is_dir && !rule.negated {
                return false;
            }
            let found = match rule.pattern.strip_prefix('/') {
                Some(rooted) => super::glob_matches(rooted, name),
                None if rule.pattern.contains('/') => super::glob_matches(&rule.pattern, name),
                None => super::glob_matches(&rule.pattern, name.rsplit('/').next().unwrap_or(name)),
            };
            if rule.negated { !found } else { found }
        })
    }
}
