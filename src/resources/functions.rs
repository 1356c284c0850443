//! Functions for configurations: pure and offline.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

use crate::cluster::without_user_info;
use crate::engine::{Arguments, Function, FunctionError, Parameter, Signature};
use crate::mesh::{
    Credential, Host, Namespace, ParsedRemoteSecret, ServiceAccountName, Sni, SpiffeId, SubsetName, TrustDomain,
};
use crate::value::{Dyn, Type};

/// `provider::mesh::sni`
pub struct SniFunction;

impl Function for SniFunction {
    fn name(&self) -> &'static str {
        "sni"
    }

    fn signature(&self) -> Signature {
        Signature {
            summary: "The SNI of a Service behind an east-west gateway".to_owned(),
            description: "The TLS server name by which an east-west gateway in `AUTO_PASSTHROUGH` mode chooses a Service: \
                          `outbound_.<port>_.<subset or nothing>_.<host>`. The port is the Service's own in the cluster that exports it, not the \
                          gateway's 15443."
                .to_owned(),
            parameters: vec![
                Parameter::new("host", Type::String, "Host of the Service, such as `cart.shop.svc.cluster.local`."),
                Parameter::new("port", Type::Number, "Port of the Service."),
            ],
            variadic: Some(Parameter::new("subset", Type::String, "Subset of the exporter's DestinationRule; at most one.")),
            returns: Type::String,
            deprecated: None,
        }
    }

    fn call(&self, arguments: &Arguments) -> Result<Dyn, FunctionError> {
        let host = named(arguments, 0, Host::new)?;
        let port = arguments.get::<i64>(1)?;
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| FunctionError::at(1, "A port is a number from 1 to 65535."))?;
        let subset = match arguments.len() {
            0..=2 => None,
            3 => Some(named(arguments, 2, SubsetName::new)?),
            _ => return Err(FunctionError::at(3, "There is one subset at most.")),
        };
        Ok(Sni { port, subset, host }.to_string().into())
    }
}

/// `provider::mesh::spiffe_id`
pub struct SpiffeIdFunction;

impl Function for SpiffeIdFunction {
    fn name(&self) -> &'static str {
        "spiffe_id"
    }

    fn signature(&self) -> Signature {
        Signature {
            summary: "The SPIFFE id of a workload".to_owned(),
            description: "The identity that Istio puts into a workload's certificate: \
                          `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."
                .to_owned(),
            parameters: vec![
                Parameter::new("trust_domain", Type::String, "Trust domain of the mesh, such as `cluster.local`."),
                Parameter::new("namespace", Type::String, "Namespace of the workload."),
                Parameter::new("service_account", Type::String, "ServiceAccount of the workload."),
            ],
            variadic: None,
            returns: Type::String,
            deprecated: None,
        }
    }

    fn call(&self, arguments: &Arguments) -> Result<Dyn, FunctionError> {
        let id = SpiffeId {
            trust_domain: named(arguments, 0, TrustDomain::new)?,
            namespace: named(arguments, 1, Namespace::new)?,
            service_account: named(arguments, 2, ServiceAccountName::new)?,
        };
        Ok(id.to_string().into())
    }
}

/// `provider::mesh::parse_remote_secret`
pub struct ParseRemoteSecretFunction;

impl Function for ParseRemoteSecretFunction {
    fn name(&self) -> &'static str {
        "parse_remote_secret"
    }

    fn signature(&self) -> Signature {
        let cluster = Type::object([
            ("server", Type::String),
            ("certificate_authority", Type::String),
            ("tls_server_name", Type::String),
            ("proxy_url", Type::String),
            ("insecure_skip_tls_verify", Type::Bool),
            ("credential", Type::String),
        ]);
        Signature {
            summary: "What a remote secret says, by cluster".to_owned(),
            description: "Reads the manifest of a remote secret, as `istioctl create-remote-secret` prints it, or a kubeconfig out of one, and \
                          says for each cluster in it where istiod would connect and how it would log in: `token`, `client_certificate`, \
                          `basic` or `oidc`. The credential itself is left out. A secret that istiod would refuse is an error that says why."
                .to_owned(),
            parameters: vec![Parameter::new("manifest", Type::String, "The Secret, or the kubeconfig, as YAML or JSON.")],
            variadic: None,
            returns: Type::map(cluster),
            deprecated: None,
        }
    }

    fn call(&self, arguments: &Arguments) -> Result<Dyn, FunctionError> {
        let text = arguments.get::<String>(0)?;
        let refused =
            |error: &dyn std::fmt::Display| FunctionError::at(0, format!("This is no remote secret: {error}."));
        let mut manifest: Json = serde_saphyr::from_str(&text).map_err(|_| refused(&"it is neither YAML nor JSON"))?;
        let clusters = if manifest["kind"] == "Config" {
            let name = manifest["current-context"].as_str().unwrap_or_default().to_owned();
            let parsed = ParsedRemoteSecret::from_kubeconfig(&text).map_err(|error| refused(&error))?;
            BTreeMap::from([(name, parsed)])
        } else {
            merge_string_data(&mut manifest);
            let found = ParsedRemoteSecret::from_object(&manifest).map_err(|error| refused(&error))?;
            let parsed = found.into_iter().map(|(name, parsed)| {
                let name = name.to_string();
                let parsed = parsed.map_err(|error| refused(&format_args!("cluster {name:?}: {error}")))?;
                Ok((name, parsed))
            });
            parsed.collect::<Result<_, FunctionError>>()?
        };
        Ok(Dyn::Map(clusters.into_iter().map(|(name, parsed)| (name, described(parsed))).collect()))
    }
}

/// istioctl prints `stringData`, which an API server would turn into `data`.
fn merge_string_data(secret: &mut Json) {
    let Some(Json::Object(texts)) = secret.get_mut("stringData").map(Json::take) else { return };
    for (key, text) in texts {
        if let Some(object) = secret.as_object_mut() {
            let data = object.entry("data").or_insert(Json::Null);
            if data.is_null() {
                *data = Json::Object(Default::default());
            }
            // What is no mapping is refused where the data is read.
            if let Json::Object(data) = data {
                // What is no text stays what it is, and is refused likewise.
                let text = text.as_str().map_or(Json::Null, |text| BASE64.encode(text).into());
                data.insert(key, text);
            }
        }
    }
}

fn described(parsed: ParsedRemoteSecret) -> Dyn {
    let optional = |text: Option<String>| text.map_or(Dyn::Null, Dyn::from);
    let credential = match parsed.credential {
        Credential::Token(_) => "token",
        Credential::Own(_) => "token_file",
        Credential::ClientCertificate => "client_certificate",
        Credential::Basic => "basic",
        Credential::Oidc => "oidc",
    };
    Dyn::object([
        ("server", without_user_info(&parsed.server).into()),
        ("certificate_authority", optional(parsed.certificate_authority)),
        ("tls_server_name", optional(parsed.tls_server_name)),
        ("proxy_url", optional(parsed.proxy_url.as_deref().map(without_user_info))),
        ("insecure_skip_tls_verify", parsed.insecure_skip_tls_verify.into()),
        ("credential", credential.into()),
    ])
}

/// An argument that must be a name of some kind.
fn named<T, E: std::fmt::Display>(
    arguments: &Arguments,
    index: usize,
    parse: impl FnOnce(String) -> Result<T, E>,
) -> Result<T, FunctionError> {
    parse(arguments.get::<String>(index)?).map_err(|error| FunctionError::at(index, format!("{error}.")))
}
