//! What `make package` makes can be installed: both CLIs take the archive from a mirror on disk, and apply with it.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;

use crate::cluster_lab::lab_cluster;
use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;

pub const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };

#[test]
fn an_archive_is_installed_and_applied() {
    let Some(cluster) = lab_cluster() else { return };
    let mirror = tempfile::tempdir().unwrap();
    for cli in clis() {
        pack(&mirror.path().join(registry(cli.name)).join("terraform-provider-mesh/mesh"));
        let workspace = Workspace::mirrored(&cli, mirror.path());
        let (store, issued) = (format!("package-root-{}", cli.name), format!("package-{}", cli.name));
        workspace.configure(&format!(
            r#"
terraform {{
  required_providers {{
    mesh = {{
      source  = "terraform-provider-mesh/mesh"
      version = "{}"
    }}
  }}
}}

provider "mesh" {{
  clusters = {{ east = {{ config_path = "{}" }} }}
}}

resource "mesh_ca" "this" {{
  root     = {{ store = {{ cluster = "east", namespace = "{store}" }} }}
  clusters = {{ east = {{ namespace = "{issued}" }} }}
}}
"#,
            env!("CARGO_PKG_VERSION"),
            cluster.kubeconfig_path().display()
        ));
        workspace.run(&["init", "-input=false"]).ok();
        workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
        assert!(cluster.get(&["secret", "cacerts", "-n", &issued]).unwrap().is_some());
        assert_eq!(workspace.run(&["plan", "-detailed-exitcode", "-input=false"]).code, Some(0));
        workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
        assert!(cluster.get(&["namespace", &issued]).unwrap().is_none());
    }
}

/// Each CLI completes the provider's address by its own registry.
pub fn registry(cli: &str) -> &'static str {
    if cli == "tofu" { "registry.opentofu.org" } else { "registry.terraform.io" }
}

fn pack(folder: &Path) {
    script(&["pack", BINARY, PLATFORM, &folder.display().to_string()]);
}

/// An archive is the same whenever it is made of the same binary, and what lies beside it fits it.
#[test]
fn what_a_release_consists_of_is_reproducible_and_checks_out() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let binary = one.path().join("binary");
    std::fs::write(&binary, "what a build has made").unwrap();
    let folders = [one.path().join("dist"), other.path().join("dist")];
    for folder in &folders {
        let folder = folder.display().to_string();
        for platform in ["linux_amd64", "windows_arm64"] {
            script(&["pack", &binary.display().to_string(), platform, &folder]);
        }
        script(&["list", &folder]);
        // An archive of another moment must not differ.
        std::fs::File::options().write(true).open(&binary).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let found = names(&folders[0]);
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(found, names(&folders[1]));
    for name in &found {
        let [a, b] = [0, 1].map(|at: usize| std::fs::read(folders[at].join(name)).unwrap());
        assert!(a == b, "{name} differs from one time to the next");
    }
    for sums in found.iter().filter(|name| name.ends_with("SHA256SUMS") || name.ends_with(".sha256")) {
        let checked = Command::new("sha256sum").arg("-c").arg(sums).current_dir(&folders[0]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
    let listed =
        Command::new("python3").args(["-m", "zipfile", "-l"]).arg(folders[0].join(archive("windows_arm64"))).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(listed.contains(&format!("terraform-provider-mesh_v{}.exe", env!("CARGO_PKG_VERSION"))), "{listed}");
    let sbom = format!("terraform-provider-mesh_{}_sbom.cdx.json", env!("CARGO_PKG_VERSION"));
    let sbom: serde_json::Value = serde_json::from_slice(&std::fs::read(folders[0].join(sbom)).unwrap()).unwrap();
    let component =
        |name: &str| sbom["components"].as_array().unwrap().iter().find(|component| component["name"] == name).cloned();
    let linked = component("aws-lc-rs").expect("what is linked is listed");
    assert!(linked["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{linked}");
    assert!(linked["licenses"][0]["expression"].is_string(), "{linked}");
    assert!(component("protox").is_none(), "what only tests need is not part of a release");
}

/// A program of a few lines as zig links it for macOS with the stubs of `scripts/macos`: it calls `getpid`,
/// `SecCopyErrorMessageString` and `CFRelease` (`zig cc -target aarch64-macos.12.0-none -Os -s -F scripts/macos
/// -framework Security -framework CoreFoundation`).
const MACOS: &[u8] = include_bytes!("../fixtures/package/macos_arm64.gz");
/// One for Windows that calls `ExitProcess` (`zig cc -target aarch64-windows-gnu -Os -s -nostdlib -lkernel32`).
const WINDOWS: &[u8] = include_bytes!("../fixtures/package/windows_arm64.exe.gz");

/// What a system would refuse or stop at its start is refused before it is packed.
#[test]
fn a_binary_is_looked_at_before_it_is_packed() {
    let macos = unpacked(MACOS);
    let fits = looked_at(&macos, "darwin_arm64").unwrap();
    assert!(fits.contains("for macOS 12.0 and later, 4 functions of /System/Library/Frameworks/Core"), "{fits}");
    let windows = unpacked(WINDOWS);
    assert!(looked_at(&windows, "windows_arm64").unwrap().contains("loads kernel32.dll"));
    let mut linux = b"\x7fELF\x02\x01".to_vec();
    linux.resize(64, 0);
    linux[18] = 183;
    assert!(looked_at(&linux, "linux_arm64").unwrap().contains("static"));

    let ours = std::fs::read(BINARY).unwrap();
    // A byte of the second page.
    let mut touched = macos.clone();
    touched[0x4000] ^= 1;
    let end = macos.len() - 1;
    for (binary, platform, why) in [
        (&ours, PLATFORM, "it is not static: it names an interpreter"),
        (&linux, "linux_amd64", "its processor has the number 183"),
        (&linux, "darwin_arm64", "no Mach-O program"),
        (&changed(&windows, b"KERNEL32.dll", b"KERNEL33.dll"), "windows_arm64", "Windows 10 does not bring kernel33"),
        (&windows, "windows_amd64", "its processor has the number 0xaa64"),
        (&macos, "darwin_amd64", "its processor has the number 0x100000c"),
        (&touched, "darwin_arm64", "page 1 of the file is not what was signed"),
        (&macos[..end].to_vec(), "darwin_arm64", "its signature is not the end of the file"),
        (&macos[..200].to_vec(), "darwin_arm64", "it ends early"),
        // Version 12.0 of platform 1 becomes 13.0, then the platform iOS.
        (&changed(&macos, &[1, 0, 0, 0, 0, 0, 12], &[1, 0, 0, 0, 0, 0, 13]), "darwin_arm64", "it asks for macOS 13.0"),
        (&changed(&macos, &[1, 0, 0, 0, 0, 0, 12], &[2, 0, 0, 0, 0, 0, 12]), "darwin_arm64", "for Apple's platform 2"),
        (&changed(&macos, b"A/Security", b"B/Security"), "darwin_arm64", "no stub in scripts/macos is for /System"),
        (&changed(&macos, b"_CFRelease", b"_CFRemoved"), "darwin_arm64", "whose stub in scripts/macos lacks it"),
        // The opcode after a name says which library has it, by its place.
        (
            &changed(&macos, b"Release\0\x11", b"Release\0\x12"),
            "darwin_arm64",
            "_CFRelease is looked up in /System/Library/Frameworks/Security",
        ),
        (&changed(&macos, b"Release\0\x11", b"Release\0\x3e"), "darwin_arm64", "_CFRelease is looked up in no library"),
        // The command that leads to the signature becomes one that nobody reads.
        (&changed(&macos, &[0x1d, 0, 0, 0, 16], &[0x26, 0, 0, 0, 16]), "darwin_arm64", "it is not signed"),
    ] {
        let said = looked_at(binary, platform).unwrap_err();
        assert!(said.contains(why), "{platform}: {said:?} instead of {why:?}");
    }
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut binary = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut binary).unwrap();
    binary
}

/// With other bytes in the place of those, wherever they are.
fn changed(binary: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut binary = binary.to_vec();
    let found: Vec<_> = (0..binary.len()).filter(|&at| binary[at..].starts_with(from)).collect();
    assert!(!found.is_empty() && from.len() == to.len(), "{from:?}");
    for at in found {
        binary[at..at + to.len()].copy_from_slice(to);
    }
    binary
}

fn looked_at(binary: &[u8], platform: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("binary");
    std::fs::write(&file, binary).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-binary");
    let done = Command::new(script).arg(file).arg(platform).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if done.status.success() { Ok(said(done.stdout)) } else { Err(said(done.stderr)) }
}

/// Readers learn of each platform what it needs.
#[test]
fn pages_name_each_platform() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(here.join(name)).unwrap();
    let script = read("scripts/package");
    let built: Vec<_> = regex::Regex::new(r#""?((?:linux|darwin|windows)_\w+) [a-z0-9_]+-"#)
        .unwrap()
        .captures_iter(&script)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(built.len(), 6, "{built:?}");
    for page in ["docs/guides/verifying-a-release.md", "docs/guides/getting-started.md"] {
        let page_text = read(page);
        let missing: Vec<_> = built.iter().filter(|platform| !page_text.contains(*platform)).collect();
        assert!(missing.is_empty(), "{page}: {missing:?}");
    }
}

fn archive(platform: &str) -> String {
    format!("terraform-provider-mesh_{}_{platform}.zip", env!("CARGO_PKG_VERSION"))
}

fn script(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let done = Command::new(script).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
