terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

provider "mesh" {
  clusters = {
    admin = { config_path = "~/.kube/config", config_context = "admin" }
    east  = { config_path = "~/.kube/config", config_context = "east" }
  }
}

resource "mesh_ca" "this" {
  root     = { store = { cluster = "admin" } }
  clusters = { east = {} }
}

resource "mesh_primary" "east" {
  cluster       = "east"
  mesh_id       = "mesh1"
  istio_version = "1.31.0"
  trust_root    = mesh_ca.this.root_fingerprint

  # After each upgrade, and after each step of a rotation of the root, in the same apply.
  lifecycle {
    action_trigger {
      events  = [after_update]
      actions = [action.mesh_restart_workloads.shop]
    }
  }
}

# By hand: terraform apply -invoke=action.mesh_restart_workloads.shop
action "mesh_restart_workloads" "shop" {
  config {
    cluster    = "east"
    namespaces = ["shop"]
  }
}
