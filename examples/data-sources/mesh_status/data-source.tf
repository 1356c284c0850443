terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

provider "mesh" {
  clusters = {
    east = { config_path = "~/.kube/config", config_context = "east" }
    west = { config_path = "~/.kube/config", config_context = "west" }
  }
}

data "mesh_status" "this" {}

# A plan that tells what is wrong with the mesh, without stopping.
check "mesh" {
  assert {
    condition     = data.mesh_status.this.healthy
    error_message = join("\n", data.mesh_status.this.findings)
  }
}
