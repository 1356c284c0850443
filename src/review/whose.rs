//! Whose a resource or an action of a plan is.

use serde_json::Value;

use super::instance::Type;

/// Actions that are looked at.
pub const ACTION: &str = "mesh_restart_workloads";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of this provider, whatever the registry or mirror is called that it came from.
    Mesh,
    /// Another provider calls something of its own as ours is called: a copy of this one does.
    Copy,
    Other,
}

/// Of what is read again at each run, such as a data source, nothing is told.
pub fn whose(one: &Value) -> Whose {
    let kind = one["type"].as_str().unwrap_or_default();
    if one["mode"] == "data" {
        return Whose::Other;
    }
    match one["provider_name"].as_str().unwrap_or_default().rsplit('/').next() {
        Some("mesh") if kind.starts_with("mesh_") => Whose::Mesh,
        _ if kind == ACTION || Type::ALL.iter().any(|(_, ours)| kind == *ours) => Whose::Copy,
        _ => Whose::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_alone_makes_nothing_ours() {
        for (kind, provider, is) in [
            ("mesh_ca", "registry.terraform.io/terraform-provider-mesh/mesh", Whose::Mesh),
            ("mesh_ca", "mirror.example/mesh", Whose::Mesh),
            ("mesh_future", "mirror.example/mesh", Whose::Mesh),
            ("mesh_ca", "mirror.example/acme/mesh-fork", Whose::Copy),
            ("mesh_ca", "", Whose::Copy),
            (ACTION, "mirror.example/acme/mesh-fork", Whose::Copy),
            ("mesh_future", "mirror.example/acme/mesh-fork", Whose::Other),
            ("helm_release", "mirror.example/mesh", Whose::Other),
        ] {
            let one = json!({ "type": kind, "provider_name": provider });
            assert_eq!(whose(&one), is, "{one}");
            let read = json!({ "type": kind, "provider_name": provider, "mode": "data" });
            assert_eq!(whose(&read), Whose::Other, "{read}");
        }
    }
}
