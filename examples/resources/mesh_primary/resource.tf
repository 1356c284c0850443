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
  cluster    = "east"
  mesh_id    = "mesh1"
  network    = "net-east"
  trust_root = mesh_ca.this.root_fingerprint

  # Anything the charts know, as for `helm --values`.
  values = [yamlencode({
    pilot = { autoscaleMin = 2 }
  })]
}
