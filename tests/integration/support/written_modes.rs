//! The modes of each resource, as configurations of two clusters: `tests/fixtures/modes.json`.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde::Deserialize;
use serde_json::Value as Json;

/// One mode. The first of a resource is shown in full.
#[derive(Deserialize)]
pub struct Mode {
    pub resource: String,
    pub title: String,
    pub about: String,
    pub config: Json,
}

pub fn modes() -> Vec<Mode> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/modes.json");
    let text = fs::read_to_string(file).expect("the modes");
    let root = Json::from(root()).to_string();
    let text = text.replace("\"ROOT\"", &root).replace("\"GATEWAY_API\"", &Json::from(gateway_api()).to_string());
    serde_json::from_str(&text).expect("modes")
}

/// The release that the definitions at hand are of.
fn gateway_api() -> String {
    let folder = lab::tools::gateway_api().expect("the Gateway API");
    let file = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| {
        path.extension().is_some_and(|extension| extension == "yaml")
            && fs::read_to_string(path).is_ok_and(|text| text.contains("bundle-version: v"))
    });
    let text = fs::read_to_string(file.expect("a definition")).unwrap();
    let version = text.split("bundle-version: v").nth(1).and_then(|rest| rest.split_whitespace().next());
    version.expect("its version").to_owned()
}

fn root() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, "Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a root").pem()
}
