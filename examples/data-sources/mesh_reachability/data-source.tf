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

# A Service that both clusters have.
data "mesh_reachability" "this" {
  services = [{ host = "cart.shop.svc.cluster.local", port = 8080 }]
}

# A plan that names each pair that is broken and the layer that fails, without stopping. `== true` in place of
# `!= false` also names what is unknown.
check "calls" {
  assert {
    condition     = data.mesh_reachability.this.reachable != false
    error_message = join("\n", data.mesh_reachability.this.findings)
  }
}
