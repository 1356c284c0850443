//! Values documents, merged as Helm merges them and compared leaf by leaf.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::review::read::{Instance, Reading};
use crate::review::secrets::{HIDDEN, HIDDEN_ANEW, leads_to_a_secret};
use crate::review::text::Prose;

/// A leaf that differs.
pub struct Change {
    /// The attribute whose documents say it: `values`, `chart_values.istiod`.
    pub documents: String,
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// What it is set to is nobody's business.
    secret: bool,
}

impl Change {
    /// For people.
    pub fn shown(&self) -> (Prose, Prose) {
        let hidden = |side: &Option<String>| side.as_ref().map_or_else(|| "not set".into(), |_| Prose::from(HIDDEN));
        let plain = |side: &Option<String>| side.as_deref().map_or_else(|| "not set".into(), Prose::name);
        match self.secret {
            true => {
                (hidden(&self.before), self.after.as_ref().map_or_else(|| "not set".into(), |_| HIDDEN_ANEW.into()))
            }
            false => (plain(&self.before), plain(&self.after)),
        }
    }
}

/// Charts that have documents of their own.
const CHARTS: [&str; 4] = ["base", "istiod", "cni", "ztunnel"];

/// Of all documents, attribute by attribute; nothing where one cannot be read or is not known yet.
pub fn differences(instance: &Instance) -> Vec<Change> {
    let whole = ["values", "base_values"].map(|name| (name.to_owned(), vec![name.to_owned()]));
    let single = CHARTS.map(|chart| (format!("chart_values.{chart}"), vec![format!("chart_values.{chart}")]));
    whole
        .into_iter()
        .chain(single)
        .flat_map(|(name, from)| between(instance, &name, &from).unwrap_or_default())
        .collect()
}

/// Of what each chart gets in the end: what moves from one document to another changes nothing.
pub fn effective(instance: &Instance) -> Vec<Change> {
    let of = |chart: &str| {
        let common = if chart == "base" && has(instance, "base_values") { "base_values" } else { "values" };
        let from = [common.to_owned(), format!("chart_values.{chart}")];
        between(instance, "values", &from).unwrap_or_default()
    };
    let mut seen = BTreeSet::new();
    let all = CHARTS.into_iter().flat_map(of);
    all.filter(|change| seen.insert((change.path.clone(), change.after.clone()))).collect()
}

/// Documents that differ and cannot be compared leaf by leaf, by attribute.
pub fn unreadable(instance: &Instance) -> Vec<String> {
    let names = ["values", "base_values"].map(str::to_owned).into_iter();
    let names = names.chain(CHARTS.map(|chart| format!("chart_values.{chart}")));
    names.filter(|name| between(instance, name, std::slice::from_ref(name)).is_none()).collect()
}

/// An attribute that holds such documents.
pub fn is_document(path: &str) -> bool {
    matches!(path, "values" | "base_values") || path == "chart_values" || path.starts_with("chart_values.")
}

fn has(instance: &Instance, name: &str) -> bool {
    [instance.before(), instance.after()].iter().any(|side| side.get(name).is_there())
}

/// Attributes by their paths.
fn at<'a>(side: Reading<'a>, paths: &[String]) -> Vec<Reading<'a>> {
    paths.iter().map(|path| path.split('.').fold(side, Reading::get)).collect()
}

/// `None` where something cannot be read.
fn between(instance: &Instance, documents: &str, from: &[String]) -> Option<Vec<Change>> {
    let (before, after) = (at(instance.before(), from), at(instance.after(), from));
    let same = before.iter().zip(&after).all(|(before, after)| before.value() == after.value());
    // A resource that goes has nothing to compare.
    if same || !instance.after().is_there() {
        return Some(Vec::new());
    }
    if before.iter().chain(&after).any(|side| side.is_partly_hidden()) {
        return None;
    }
    let unknown = after.iter().any(|side| side.is_partly_unknown());
    // What one document said all along another one may overrule, as before.
    let said: Vec<BTreeMap<String, String>> = match unknown {
        true => before
            .iter()
            .flat_map(|documents| documents.texts())
            .map(|text| leaves_of([text]))
            .collect::<Option<_>>()?,
        false => Vec::new(),
    };
    let (before, after) = (leaves(&before)?, leaves(&after)?);
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let marked = marked(instance);
    // A document that is not known yet is told as such. What the others no longer say may be in it.
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let is_new = |path: &String, now: &String| !said.iter().any(|one| one.get(path) == Some(now));
    let changed = changed.filter(|path| !unknown || after.get(*path).is_some_and(|now| is_new(path, now)));
    let change = |path: &String| Change {
        documents: documents.to_owned(),
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
        secret: leads_to_a_secret(path)
            || marked.iter().any(|marked| {
                path.strip_prefix(marked).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            }),
    };
    Some(changed.map(change).collect())
}

/// Paths that the configuration calls secret, on either side. A dot within a key is written with a backslash.
fn marked(instance: &Instance) -> BTreeSet<String> {
    let sides = [instance.before(), instance.after()];
    sides.iter().flat_map(|side| side.get("sensitive_values").texts()).map(|path| path.replace('\\', "")).collect()
}

fn leaves(documents: &[Reading<'_>]) -> Option<BTreeMap<String, String>> {
    leaves_of(documents.iter().flat_map(|documents| documents.texts()))
}

/// Of documents over one another.
fn leaves_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<BTreeMap<String, String>> {
    let mut merged = Map::new();
    for text in texts {
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Object(document)) => merge(&mut merged, document),
            Ok(Value::Null) => {}
            _ => return None,
        }
    }
    let mut leaves = BTreeMap::new();
    flatten("", &Value::Object(merged), &mut leaves);
    Some(leaves)
}

fn merge(into: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(into)), Value::Object(over)) => merge(into, over),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, leaves);
            }
        }
        Value::Object(_) if path.is_empty() => {}
        // As `env` of a container: `env[NAME].value`.
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                let name = item["name"].as_str().map_or_else(|| at.to_string(), str::to_owned);
                flatten(&format!("{path}[{name}]"), item, leaves);
            }
        }
        Value::String(text) => drop(leaves.insert(path.to_owned(), text.clone())),
        other => drop(leaves.insert(path.to_owned(), other.to_string())),
    }
}

/// Whether a setting, in values or in a field of an object, takes encryption or a check of identity away.
pub fn weakens(path: &str, before: Option<&str>, after: Option<&str>) -> bool {
    /// What ends a path, and the value that is the weak one.
    const SETTINGS: &[(&str, &str)] = &[
        ("enableautomtls", "false"),
        ("mtls.enabled", "false"),
        ("mtls.mode", "PERMISSIVE"),
        ("mtls.mode", "DISABLE"),
        ("controlplanesecurityenabled", "false"),
        ("pilot_skip_validate_trust_domain", "true"),
        ("pilot_enable_xds_identity_check", "false"),
        ("xds_auth", "false"),
        ("xds_auth_plaintext", "false"),
        ("verify_certificate_at_client", "false"),
        ("minprotocolversion", "TLSV1_2"),
        ("enable_auto_sni", "false"),
        ("jwks_resolver_insecure_skip_verify", "true"),
        ("istio_workload_entry_validate_identity", "false"),
        ("enable_debug_endpoint_auth", "false"),
        ("unsafe_enable_admin_endpoints", "true"),
        ("enable_xds_api_generator_auth", "false"),
        // No traffic goes through the proxy.
        ("interceptionmode", "NONE"),
    ];
    // As Go reads a flag: `0`, `f` and `F` are no less false.
    let means = |text: &str, weak: &str| match weak {
        "false" => matches!(text, "0" | "f" | "F") || text.eq_ignore_ascii_case(weak),
        "true" => matches!(text, "1" | "t" | "T") || text.eq_ignore_ascii_case(weak),
        weak => text.eq_ignore_ascii_case(weak),
    };
    let is = |end: &str| ends(path, end);
    let says = |side: Option<&str>, word: &str| side.is_some_and(|text| text.eq_ignore_ascii_case(word));
    let no_longer = |word: &str| says(before, word) && !says(after, word);
    // Where nothing says how strict it is, plain text is accepted too, and TLS 1.2.
    is("mtls.mode") && no_longer("STRICT")
        || is("minprotocolversion") && no_longer("TLSV1_3")
        || SETTINGS.iter().any(|(end, weak)| {
            is(end)
                && after.is_some_and(|after| means(after, weak))
                && !before.is_some_and(|before| means(before, weak))
        })
}

/// Whether a path in values or in an object ends so: `env[NAME].value` of a Deployment is the setting NAME.
pub fn ends(path: &str, end: &str) -> bool {
    let (path, end) = (plainly(path), plainly(end));
    let path = path.trim_end_matches(".value").trim_end_matches(']').replace('[', ".");
    path == end || path.strip_suffix(&end).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether a path has this name as one of its steps.
pub fn leads_through(path: &str, name: &str) -> bool {
    plainly(path).split(['.', '[', ']']).any(|step| step == name)
}

/// Names whatever their case, and in both spellings: istiod reads `enable_auto_mtls` as `enableAutoMtls`.
fn plainly(path: &str) -> String {
    path.to_lowercase().replace('_', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_setting_is_known_in_values_and_in_fields() {
        assert!(weakens("meshConfig.enableAutoMtls", Some("true"), Some("false")));
        assert!(weakens("data.mesh.enableAutoMtls", None, Some("false")));
        assert!(weakens(
            "spec.template.spec.containers[discovery].env[PILOT_SKIP_VALIDATE_TRUST_DOMAIN].value",
            None,
            Some("true")
        ));
        assert!(!weakens("meshConfig.enableAutoMtls", Some("false"), Some("true")));
        assert!(!weakens("meshConfig.enableAutoMtls", Some("false"), Some("false")));
        assert!(!weakens("meshConfig.accessLogFile", None, Some("false")));
        for text in ["0", "f", "F", "false", "FALSE"] {
            assert!(weakens("pilot.env.XDS_AUTH", None, Some(text)), "{text}");
        }
        assert!(weakens("meshConfig.enable_auto_mtls", None, Some("false")));
        assert!(weakens("meshConfig.meshMTLS.min_protocol_version", None, Some("TLSV1_2")));
        for after in [None, Some("TLS_AUTO"), Some("TLSV1_2")] {
            assert!(weakens("meshConfig.meshMTLS.minProtocolVersion", Some("TLSV1_3"), after), "{after:?}");
        }
        assert!(!weakens("meshConfig.meshMTLS.minProtocolVersion", None, Some("TLSV1_3")));
        assert!(!weakens("meshConfig.meshMTLS.minProtocolVersion", None, Some("TLS_AUTO")));
        assert!(weakens("spec.mtls.mode", Some("STRICT"), None));
        assert!(!weakens("spec.mtls.mode", None, None));
    }
}
