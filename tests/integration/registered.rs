//! What holds of everything registered, whatever it is.

use serde_json::json;
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::schema;
use terraform_provider_mesh::value::Dyn;

use crate::support::core::Core;
use crate::support::random::Random;

/// The provider with a cluster that nobody is at.
async fn core() -> Core {
    let config = json!({"clusters": {"east": {"host": "https://127.0.0.1:1", "insecure": true}}});
    Core::new(Mesh, registry(), config).await.unwrap()
}

#[tokio::test]
async fn every_schema_keeps_the_rules() {
    let core = core().await;
    let schemas = core.engine.schema();
    let mut found = Vec::new();
    let all = [
        &schemas.resources,
        &schemas.data_sources,
        &schemas.ephemeral_resources,
        &schemas.list_resources,
        &schemas.actions,
    ];
    for (name, schema) in all.into_iter().flatten() {
        found.extend(schema::check(schema).into_iter().map(|rule| format!("{name}: {rule}")));
    }
    for (name, schema) in &schemas.identities {
        found.extend(schema::check_identity(schema).into_iter().map(|rule| format!("identity of {name}: {rule}")));
    }
    found.extend(schema::check(&schemas.provider).into_iter().map(|rule| format!("provider: {rule}")));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn a_configuration_that_is_all_unknown_can_be_planned() {
    let core = core().await;
    for (name, schema) in &core.engine.schema().resources {
        let unknown = |attribute: &schema::Attribute| match attribute.is_computed_only() {
            true => Dyn::Null,
            false => Dyn::UNKNOWN,
        };
        let config = Dyn::object(schema.attributes.iter().map(|attribute| (&attribute.name, unknown(attribute))));
        let found = core.validate_value(name, &config).await;
        assert!(!found.has_errors(), "{name}: {found}");
        if let Err(found) = core.plan_against(name, config, None).await {
            panic!("{name}: {found}");
        }
    }
}

#[tokio::test]
async fn noise_is_never_answered_by_a_panic_or_a_broken_plan() {
    let core = core().await;
    let mut random = Random::new(5);
    for (name, schema) in &core.engine.schema().resources {
        for _ in 0..150 {
            let config = random.config(&schema.attributes);
            let mut found = core.validate_value(name, &config).await;
            if !found.has_errors() {
                found.append(core.plan_against(name, config, None).await.err().unwrap_or_default());
            }
            assert!(!blames_the_provider(&found), "{name}: {found}");
        }
    }
}

fn blames_the_provider(diagnostics: &Diagnostics) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.summary == "Provider bug")
}
