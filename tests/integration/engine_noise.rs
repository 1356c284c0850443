//! Random bytes and random well-typed values to every RPC: an answer always, never a panic.

use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::engine::rpc::*;
use terraform_provider_mesh::value::{Type, msgpack};

use crate::support::core::Core;
use crate::support::library::{LibraryProvider, registry};
use crate::support::random::Random;

const TYPES: [&str; 5] = ["library_specimen", "library_shelf", "library_peek", "library_pass", "library_nothing"];

struct Noise {
    random: Random,
    core: Core,
}

impl Noise {
    fn type_name(&mut self) -> String {
        TYPES[self.random.below(TYPES.len())].to_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.random.below(40);
        self.random.bytes(length)
    }

    /// A value of the type's schema, perhaps mutilated; or bytes; or nothing; as msgpack or as JSON.
    fn encoded(&mut self, type_name: &str) -> Encoded {
        let ty = self.ty(type_name);
        let mut msgpack = msgpack::encode(&self.random.value(&ty, 3, true), &ty).unwrap();
        match self.random.below(8) {
            0 => {
                let at = self.random.below(msgpack.len());
                msgpack[at] = self.random.below(256) as u8;
            }
            1 => msgpack = self.bytes(),
            2 => return Encoded { msgpack: Vec::new(), json: self.bytes() },
            3 => return Encoded::default(),
            _ => {}
        }
        Encoded { msgpack, json: Vec::new() }
    }

    fn ty(&self, type_name: &str) -> Type {
        let schemas = self.core.engine.schema();
        let found = schemas.resources.get(type_name).or(schemas.data_sources.get(type_name));
        found.or(schemas.ephemeral_resources.get(type_name)).unwrap_or(&schemas.provider).ty()
    }

    fn capabilities(&mut self) -> ClientCapabilities {
        ClientCapabilities {
            deferral_allowed: self.random.below(2) == 0,
            write_only_attributes_allowed: self.random.below(2) == 0,
            store_planned_private: false,
        }
    }

    async fn ask(&mut self) -> Diagnostics {
        let type_name = self.type_name();
        let engine = self.core.engine.clone();
        let capabilities = self.capabilities();
        let (config, prior, planned) = (self.encoded(&type_name), self.encoded(&type_name), self.encoded(&type_name));
        let private = if self.random.below(3) == 0 { self.bytes() } else { Vec::new() };
        let validate = ValidateConfig { type_name: type_name.clone(), config: config.clone(), capabilities };
        match self.random.below(16) {
            0 => engine.validate_resource_config(validate).await,
            1 => engine.validate_data_resource_config(validate).await,
            2 => engine.validate_ephemeral_resource_config(validate).await,
            3 => engine.validate_list_resource_config(validate).await,
            4 => engine.validate_provider_config(ValidateProviderConfig { config }).await,
            5 => {
                let (version, json) = (self.random.below(4) as i64 - 1, self.bytes());
                engine.upgrade_resource_state(UpgradeResourceState { type_name, version, json }).await.diagnostics
            }
            6 => {
                let current_identity = Some(planned);
                engine
                    .read_resource(ReadResource {
                        type_name,
                        current_state: prior,
                        private,
                        current_identity,
                        capabilities,
                    })
                    .await
                    .diagnostics
            }
            7..=9 => {
                let request = PlanResourceChange {
                    type_name,
                    prior_state: prior,
                    proposed_new_state: planned,
                    config,
                    prior_private: private,
                    planned_private: Vec::new(),
                    prior_identity: None,
                    capabilities,
                };
                engine.plan_resource_change(request).await.diagnostics
            }
            10 => {
                let request =
                    ImportResourceState { type_name, id: "x".to_owned(), identity: Some(prior), capabilities };
                engine.import_resource_state(request).await.diagnostics
            }
            11 => {
                let request = MoveResourceState {
                    source_provider_address: "x".to_owned(),
                    source_type_name: self.type_name(),
                    source_schema_version: 0,
                    source_state: self.bytes(),
                    target_type_name: type_name,
                };
                engine.move_resource_state(request).await.diagnostics
            }
            12 => engine.read_data_source(ReadDataSource { type_name, config, capabilities }).await.diagnostics,
            13 => {
                let request = OpenEphemeralResource { type_name, config, capabilities };
                engine.open_ephemeral_resource(request).await.diagnostics
            }
            14 => engine.generate_resource_config(GenerateResourceConfig { type_name, state: prior }).await.diagnostics,
            _ => {
                let arguments = vec![config; self.random.below(3)];
                let _ = engine.call_function(CallFunction { name: "twice".to_owned(), arguments }).await;
                engine.close_ephemeral_resource(EphemeralResource { type_name, private }).await
            }
        }
    }
}

#[tokio::test]
async fn noise_is_answered_without_a_panic() {
    let core = Core::new(LibraryProvider::default(), registry(), serde_json::json!({})).await.unwrap();
    let mut noise = Noise { random: Random::new(3), core };
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..3000 {
        let diagnostics = noise.ask().await;
        let text = diagnostics.to_string();
        assert!(!text.contains("panicked"), "{text}");
        if diagnostics.has_errors() { refused += 1 } else { answered += 1 }
    }
    assert!(answered > 100 && refused > 300, "{answered} answered, {refused} refused");
}
