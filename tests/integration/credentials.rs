//! Kubeconfigs as the clouds' tools write them, with scripts in place of their credential plugins that take what those
//! take and answer as they do; and tokens that lie in files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig, Kind, ObjectRef, Secret};

use crate::cluster_server::{Server, config_map};

/// What a plugin's script looks at before it answers: it fails where the real one would.
struct Plugin {
    name: &'static str,
    /// The exec entry of the kubeconfig, but for the command.
    entry: &'static str,
    /// Shell, with the plugin's own complaints.
    checks: &'static str,
    token: &'static str,
}

const PLUGINS: &[Plugin] = &[
    Plugin {
        name: "aws",
        entry: "{apiVersion: client.authentication.k8s.io/v1beta1, args: [--region, eu-west-1, eks, get-token, --cluster-name, prod, --output, json], \
                env: [{name: AWS_PROFILE, value: platform}], provideClusterInfo: false}",
        checks: r#"
[ "$*" = "--region eu-west-1 eks get-token --cluster-name prod --output json" ] || { echo "aws: error: $*" >&2; exit 252; }
[ "$AWS_PROFILE" = platform ] || { echo "The config profile could not be found" >&2; exit 255; }
"#,
        token: "k8s-aws-v1.aHR0cHM6Ly9zdHM",
    },
    Plugin {
        name: "gke-gcloud-auth-plugin",
        entry: "{apiVersion: client.authentication.k8s.io/v1beta1, installHint: Install gke-gcloud-auth-plugin, provideClusterInfo: true}",
        checks: r#"
[ $# = 0 ] || exit 2
case $KUBERNETES_EXEC_INFO in
  *'"apiVersion":"client.authentication.k8s.io/v1beta1"'*'"server":"https://'*) ;;
  *) echo "unable to parse KUBERNETES_EXEC_INFO: $KUBERNETES_EXEC_INFO" >&2; exit 1 ;;
esac
"#,
        token: "ya29.a0AfB",
    },
    Plugin {
        name: "kubelogin",
        entry: "{apiVersion: client.authentication.k8s.io/v1beta1, args: [get-token, --login, workloadidentity, --server-id, 6dae42f8-4368-4678-94ff-3960e28e3630], \
                env: null, provideClusterInfo: false}",
        checks: r#"
[ "$*" = "get-token --login workloadidentity --server-id 6dae42f8-4368-4678-94ff-3960e28e3630" ] || { echo "unknown: $*" >&2; exit 1; }
"#,
        token: "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln",
    },
];

fn reference() -> ObjectRef {
    ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a")
}

/// A cluster whose kubeconfig has this user, and paths in it relative to a folder.
fn cluster(server: &Server, folder: &Path, user: &str) -> Cluster {
    let given = server.config();
    std::fs::write(folder.join("ca.crt"), given.cluster_ca_certificate.unwrap_or_default()).unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: \"{}\", certificate-authority: ca.crt}}\n\
         users:\n- name: u\n  user: {user}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\n",
        given.host.unwrap_or_default()
    );
    let file = folder.join("config");
    std::fs::write(&file, text).unwrap();
    let config = ClusterConfig { config_paths: vec![file.display().to_string()], ..ClusterConfig::default() };
    Cluster::standalone("east", config, "0.0.0-test")
}

#[tokio::test]
async fn the_clouds_credential_plugins_are_run_as_they_want_it() {
    for Plugin { name, entry, checks, token } in PLUGINS {
        let server = Server::start_tls(|_, _| config_map("a")).await;
        let folder = tempfile::tempdir().unwrap();
        let credential = json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "spec": {},
            "status": {"expirationTimestamp": "2099-01-01T00:00:00Z", "token": token}});
        let script = folder.path().join(name);
        std::fs::write(&script, format!("#!/bin/sh{checks}cat <<'END'\n{credential}\nEND\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let user = format!("{{exec: {}}}", entry.replacen('{', &format!("{{command: ./{name}, "), 1));
        let found = cluster(&server, folder.path(), &user).get(&reference()).await;
        assert!(found.unwrap_or_else(|error| panic!("{name}: {error}")).is_some());
        let sent = server.seen();
        let sent = sent.last().map(|seen| seen.authorization.clone());
        assert_eq!(sent, Some(format!("Bearer {token}")), "{name}");

        // What it complains of is passed on, and nothing of the token.
        std::fs::write(&script, "#!/bin/sh\necho 'please log in again' >&2\nexit 1\n").unwrap();
        let error = cluster(&server, folder.path(), &user).get(&reference()).await.unwrap_err().to_string();
        assert!(error.contains("please log in again") && error.contains(name), "{error}");
    }
}

/// A Pod's ServiceAccount, and the token that a CI system writes down: both are files that others write anew.
#[tokio::test]
async fn a_token_in_a_file_is_sent_as_it_is_when_the_cluster_is_first_asked() {
    let server = Server::start_tls(|_, _| config_map("a")).await;
    let folder = tempfile::tempdir().unwrap();
    for token in ["first", "second"] {
        std::fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
        let pod = cluster(&server, folder.path(), "{tokenFile: token}");
        assert!(pod.get(&reference()).await.unwrap().is_some());
        let sent = server.seen();
        assert_eq!(sent.last().map(|seen| seen.authorization.clone()), Some(format!("Bearer {token}")));
    }
    let direct = ClusterConfig { token: Some(Secret::new("by-attribute")), ..server.config() };
    let refused = Cluster::standalone("east", direct, "0.0.0-test").get(&reference()).await;
    assert!(refused.is_ok(), "the attribute stands for the file: {refused:?}");
}
