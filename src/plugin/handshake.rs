//! go-plugin's handshake: what the core says in the environment, and the one line a plugin answers on standard output.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What somebody reads who starts the binary by hand.
const NOT_STARTED_BY_TERRAFORM: &str = "\
This program is a Terraform provider. It is started by terraform or tofu, not by hand.

Name it in your configuration, then run `terraform init`:

  terraform {
    required_providers {
      mesh = { source = \"terraform-provider-mesh/mesh\" }
    }
  }

To run it under a debugger, start it with --debug. `--help` lists what else it knows.";

const COOKIE: &str = "TF_PLUGIN_MAGIC_COOKIE";
const COOKIE_VALUE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
const CORE_PROTOCOL: u8 = 1;
const PLUGIN_PROTOCOL: u8 = 6;

/// What a core says to the plugin it starts.
#[derive(Debug)]
pub struct Environment {
    /// Our only client. `None` where the user turned TLS off (`TF_DISABLE_PLUGIN_TLS`).
    pub(super) client_certificate: Option<CertificateDer<'static>>,
    #[cfg_attr(not(unix), allow(dead_code, reason = "for Unix: on Windows a port is listened on"))]
    pub(super) socket_folder: Option<PathBuf>,
    #[cfg_attr(unix, allow(dead_code, reason = "for Windows, where there is no Unix socket"))]
    pub(super) ports: RangeInclusive<u16>,
    /// Whether the core asks about connection sharing; it then expects one field more in the answer.
    asks_about_multiplexing: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an error of anybody's: a person started us.
    #[error("{NOT_STARTED_BY_TERRAFORM}")]
    NotStartedByTerraform,
    #[error("the client certificate in PLUGIN_CLIENT_CERT is not readable")]
    ClientCertificate(#[source] rustls::pki_types::pem::Error),
    #[error("{name} is not a port number")]
    Port { name: &'static str },
}

impl Environment {
    /// `variable` looks an environment variable up.
    pub fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        if variable(COOKIE).as_deref() != Some(COOKIE_VALUE) {
            return Err(Error::NotStartedByTerraform);
        }
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let port = |name, default| match set(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::Port { name }),
        };
        let client_certificate = set("PLUGIN_CLIENT_CERT")
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::ClientCertificate))
            .transpose()?;
        Ok(Self {
            client_certificate,
            socket_folder: set("PLUGIN_UNIX_SOCKET_DIR").map(PathBuf::from),
            ports: port("PLUGIN_MIN_PORT", 10_000)?..=port("PLUGIN_MAX_PORT", 25_000)?,
            asks_about_multiplexing: set("PLUGIN_MULTIPLEX_GRPC").is_some(),
        })
    }

    /// What `--debug` starts from: no core has said anything.
    pub(super) fn of_nobody() -> Self {
        Self { client_certificate: None, socket_folder: None, ports: 10_000..=25_000, asks_about_multiplexing: false }
    }

    /// The line that tells the core where to connect and whom to expect there.
    pub(super) fn answer(&self, address: &Address, certificate: Option<&CertificateDer<'_>>) -> String {
        // Go decodes this with its raw encoding: padding is "illegal base64 data".
        let certificate = certificate.map(|der| STANDARD_NO_PAD.encode(der)).unwrap_or_default();
        let Address { network, address } = address;
        let mut line = format!("{CORE_PROTOCOL}|{PLUGIN_PROTOCOL}|{network}|{address}|grpc|{certificate}");
        if self.asks_about_multiplexing {
            line.push_str("|false");
        }
        line.push('\n');
        line
    }
}

/// Where the plugin listens, in go-plugin's words.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) network: &'static str,
    pub(super) address: String,
}

impl Address {
    /// What `--debug` prints: the value of `TF_REATTACH_PROVIDERS` for the core that shall use this process.
    pub(super) fn reattach(&self, provider: &str, process: u32) -> String {
        let entry = serde_json::json!({
            "Protocol": "grpc",
            "ProtocolVersion": PLUGIN_PROTOCOL,
            "Pid": process,
            // The core then leaves the process running.
            "Test": true,
            "Addr": { "Network": self.network, "String": self.address },
        });
        // The same source is of another registry in OpenTofu, and each core looks for its own alone.
        let of_tofu = provider.replacen("registry.terraform.io/", "registry.opentofu.org/", 1);
        serde_json::json!({ provider: entry, of_tofu: entry }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(extra: &[(&str, &str)]) -> Result<Environment, Error> {
        let mut variables = BTreeMap::from([(COOKIE, COOKIE_VALUE)]);
        variables.extend(extra.iter().copied());
        Environment::parse(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn unix() -> Address {
        Address { network: "unix", address: "/tmp/x/socket".to_owned() }
    }

    #[test]
    fn without_the_cookie_it_was_a_person() {
        assert!(matches!(Environment::parse(|_| None), Err(Error::NotStartedByTerraform)));
        let other = |name: &str| (name == COOKIE).then(|| "other".to_owned());
        assert!(matches!(Environment::parse(other), Err(Error::NotStartedByTerraform)));
    }

    #[test]
    fn answer_has_six_fields_and_unpadded_base64() {
        let environment = parse(&[]).unwrap();
        let certificate = CertificateDer::from(vec![1, 2, 3, 4]);
        assert_eq!(environment.answer(&unix(), Some(&certificate)), "1|6|unix|/tmp/x/socket|grpc|AQIDBA\n");
        assert_eq!(environment.answer(&unix(), None), "1|6|unix|/tmp/x/socket|grpc|\n");
    }

    #[test]
    fn seventh_field_answers_only_a_core_that_asks() {
        let environment = parse(&[("PLUGIN_MULTIPLEX_GRPC", "true")]).unwrap();
        assert_eq!(environment.answer(&unix(), None), "1|6|unix|/tmp/x/socket|grpc||false\n");
    }

    #[test]
    fn bad_environment_is_an_error_that_names_the_variable() {
        let error = parse(&[("PLUGIN_CLIENT_CERT", "nonsense")]).unwrap_err().to_string();
        assert!(error.contains("PLUGIN_CLIENT_CERT"), "{error}");
        let error = parse(&[("PLUGIN_MIN_PORT", "x")]).unwrap_err().to_string();
        assert!(error.contains("PLUGIN_MIN_PORT"), "{error}");
    }

    #[test]
    fn reattach_is_what_the_core_reads() {
        let value: serde_json::Value = serde_json::from_str(&unix().reattach("a/b/c", 7)).unwrap();
        assert_eq!(value["a/b/c"]["Addr"]["String"], "/tmp/x/socket");
        assert_eq!(value["a/b/c"]["ProtocolVersion"], 6);
        assert_eq!(value["a/b/c"]["Pid"], 7);
        let value: serde_json::Value = serde_json::from_str(&unix().reattach("registry.terraform.io/b/c", 7)).unwrap();
        assert_eq!(value["registry.opentofu.org/b/c"], value["registry.terraform.io/b/c"]);
        assert_eq!(value["registry.opentofu.org/b/c"]["Pid"], 7);
    }
}
