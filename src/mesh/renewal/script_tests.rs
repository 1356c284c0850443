//! The job's script, run by a real bash and a real base64. Only the API servers are played: by a `curl` that writes
//! down how it is called.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::SCRIPT;

/// Answers by the request; keeps the arguments, the configuration and what is written.
const CURL: &str = r#"
printf '%s\n' "$@" >>"$PLAY/arguments"
config= body= url=${@: -1}
while (($#)); do
  case $1 in
  --config) config=$(<"$2") ;;
  --data-binary) body=$(<"${2#@}") ;;
  esac
  shift
done
printf '%s\n' "$config" >>"$PLAY/config"
case $url in
*/token) printf '%s\n201' "$(<"$PLAY/granted")" ;;
*fieldManager*) printf '%s' "$body" >"$PLAY/written"; printf '{}\n200' ;;
*) printf '%s\n200' "$(<"$PLAY/secret")" ;;
esac
"#;

/// A run with its own programs: what the documentation asks an image for, and nothing else.
struct Play(tempfile::TempDir);

impl Play {
    fn new(proxy: &str) -> Play {
        let play = Play(tempfile::tempdir().unwrap());
        fs::create_dir(play.path("bin")).unwrap();
        for name in ["bash", "base64"] {
            symlink(program(name), play.path("bin").join(name)).unwrap();
        }
        play.program("curl", CURL);
        let kubeconfig = kubeconfig(&token("old", 1_000), proxy);
        let secret = json!({ "data": { "east": STANDARD.encode(kubeconfig) }, "metadata": { "resourceVersion": "7" } });
        fs::write(play.path("secret"), secret.to_string()).unwrap();
        fs::write(play.path("granted"), json!({ "status": { "token": token("new", 2_000) } }).to_string()).unwrap();
        fs::write(play.path("token"), "of-the-pod").unwrap();
        play
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a program in place of what is there.
    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!{}\n{text}", program("bash").display())).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Whether the run succeeded, and what it said.
    fn run(&self) -> (bool, String) {
        let script = self.path("renew.sh");
        fs::write(&script, SCRIPT).unwrap();
        let dir = self.0.path();
        let mut run = Command::new(program("bash"));
        run.arg(&script).env_clear().env("PATH", dir.join("bin")).env("PLAY", dir).env("ACCOUNT", dir).env("WORK", dir);
        run.envs([("CLUSTER", "east"), ("NAMESPACE", "istio-system"), ("SECRET", "istio-remote-secret-east")]);
        run.envs([("READER", "istio-mesh-reader"), ("LIFETIME", "1000"), ("EVERY", "300")]);
        let ran = run.envs([("KUBERNETES_SERVICE_HOST", "192.0.2.1"), ("KUBERNETES_SERVICE_PORT", "443")]).output();
        let ran = ran.unwrap();
        (
            ran.status.success(),
            String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr),
        )
    }

    /// The kubeconfig that was written, if any was.
    fn written(&self) -> Option<String> {
        let patch: Value = serde_json::from_str(&self.read("written")).ok()?;
        Some(String::from_utf8(STANDARD.decode(patch["data"]["east"].as_str()?).ok()?).unwrap())
    }
}

/// Where this machine has a program.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| Path::is_file(path));
    found.unwrap_or_else(|| panic!("{name} is needed"))
}

fn token(id: &str, ends: u64) -> String {
    let claims = json!({
        "jti": id, "iat": ends - 1_000, "exp": ends, "sub": "system:serviceaccount:istio-system:istio-mesh-reader",
        "kubernetes.io": { "secret": { "name": "bound", "uid": "1" } } });
    format!("eyJ.{}.{id}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn kubeconfig(token: &str, proxy: &str) -> String {
    let proxy = if proxy.is_empty() { String::new() } else { format!("    proxy-url: \"{proxy}\"\n") };
    format!(
        "clusters:\n- cluster:\n    server: \"https://192.0.2.2:6443\"\n{proxy}users:\n- user:\n    token: \"{token}\"\n"
    )
}

#[test]
fn a_run_needs_no_other_programs_than_the_documentation_names() {
    let play = Play::new("");
    let (succeeded, said) = play.run();
    assert!(succeeded, "{said}");
    assert_eq!(play.written(), Some(kubeconfig(&token("new", 2_000), "")), "{said}");
}

#[test]
fn a_kubeconfig_that_cannot_be_encoded_is_not_written() {
    let real = program("base64").display().to_string();
    for (fault, encode) in [("fails", "exit 1"), ("ends early", "printf eyJh"), ("writes nothing", "exit 0")] {
        let play = Play::new("");
        play.program("base64", &format!("[[ ${{1-}} == -d ]] && exec {real} -d\n{encode}"));
        let (succeeded, said) = play.run();
        assert!(!succeeded && said.contains("cannot be encoded"), "{fault}: {said}");
        assert_eq!(play.read("written"), "", "{fault}");
    }
}

#[test]
fn no_secret_is_on_a_command_line() {
    let play = Play::new("socks5://user:pass%22\\word@192.0.2.3:1080");
    let (succeeded, said) = play.run();
    assert!(succeeded, "{said}");
    let arguments = play.read("arguments");
    assert!(arguments.contains("192.0.2.2:6443"), "{arguments}");
    for secret in ["word", "eyJ", "of-the-pod"] {
        assert!(!arguments.contains(secret) && !said.contains(secret), "{secret}: {arguments} {said}");
    }
    let config = play.read("config");
    let proxies: Vec<&str> = config.lines().filter(|line| line.starts_with("proxy")).collect();
    assert_eq!(proxies, [r#"proxy = "socks5h://user:pass%22\\word@192.0.2.3:1080""#], "of the watched cluster alone");
}
