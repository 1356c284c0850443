//! The dependency policy: licences, crypto providers, and crates that must not come in. Reads `cargo tree`, so that it
//! needs no tool beyond cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences a dependency may be taken under; an `OR` needs one of them, an `AND` all.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must not be linked, and why.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one crypto provider: aws-lc-rs, which can verify the cores' P-521 certificates"),
    ("openssl-sys", "one crypto provider, and static binaries"),
    ("native-tls", "one crypto provider, and static binaries"),
    ("serde_yaml", "unmaintained"),
];

/// Crates that may be there in two major versions, and why. Everything else may not.
const DOUBLED: &[(&str, &str)] = &[
    ("base64", "a dependency of kube is ahead of the others"),
    ("block-buffer", "two generations of RustCrypto's digest"),
    ("cpufeatures", "two generations of RustCrypto's digest"),
    ("crypto-common", "two generations of RustCrypto's digest"),
    ("digest", "two generations of RustCrypto's digest"),
    ("sha2", "two generations of RustCrypto's digest"),
    ("syn", "build time only"),
    ("synstructure", "build time only"),
    ("tower-http", "kube is ahead of reqwest"),
    ("untrusted", "rustls-webpki is ahead of aws-lc-rs"),
];

#[test]
fn every_dependency_has_a_licence_we_accept() {
    let refused: Vec<String> = linked()
        .iter()
        .filter(|package| !accepted(&package.licence))
        .map(|package| format!("{} {}: {}", package.name, package.version, package.licence))
        .collect();
    assert!(refused.is_empty(), "licences outside the policy:\n{}", refused.join("\n"));
}

#[test]
fn no_banned_crate_is_linked() {
    for package in linked() {
        let ban = BANNED.iter().find(|(name, _)| *name == package.name);
        assert!(ban.is_none(), "{} must not be linked: {}", package.name, ban.unwrap().1);
    }
}

#[test]
fn no_crate_is_linked_twice_without_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let doubled: Vec<String> = versions
        .iter()
        .filter(|(name, versions)| versions.len() > 1 && !DOUBLED.iter().any(|(known, _)| known == name))
        .map(|(name, versions)| format!("{name}: {}", versions.iter().cloned().collect::<Vec<_>>().join(", ")))
        .collect();
    assert!(doubled.is_empty(), "crates linked in several versions:\n{}", doubled.join("\n"));
}

struct Package {
    name: String,
    version: String,
    licence: String,
}

/// The packages that the provider's binary is built from on Linux, ours left out. `cargo tree` follows features
/// exactly, which `cargo metadata` does not.
fn linked() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal", "--package=terraform-provider-mesh"])
        .args(["--target=x86_64-unknown-linux-gnu", "--prefix=none", "--no-dedupe", "--format={p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: BTreeSet<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let packages: Vec<Package> = lines.iter().filter_map(|line| package(line)).collect();
    assert!(packages.len() > 100, "cargo tree listed only {} packages", packages.len());
    packages
}

/// `name v1.2.3 (proc-macro)|licence`
fn package(line: &str) -> Option<Package> {
    let (named, licence) = line.split_once('|')?;
    let (name, rest) = named.split_once(" v")?;
    let version = rest.split(' ').next()?;
    (name != "terraform-provider-mesh").then(|| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
    })
}

fn accepted(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let accepted = |part: &str| part.split(" OR ").any(|one| LICENCES.contains(&one.trim()));
    !expression.trim().is_empty() && expression.split(" AND ").all(accepted)
}
