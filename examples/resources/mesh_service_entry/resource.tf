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

# The gateway of the other mesh, through which its service is called.
resource "mesh_eastwest_gateway" "west" {
  cluster = "west"
  network = "net-west"
  expose  = { services = true, hosts = ["cart.shop.svc.cluster.local"] }
}

# Clients in east call cart.shop.svc.cluster.local, which runs in another mesh.
resource "mesh_service_entry" "cart" {
  cluster = "east"
  host    = "cart.shop.svc.cluster.local"
  ports   = { http = { number = 8080 } }

  exporters = {
    west = {
      cluster          = "west"
      namespace        = "shop"
      service          = "cart"
      service_accounts = ["cart"]
      trust_domain     = "west.example"
      gateways         = mesh_eastwest_gateway.west.addresses
    }
  }
}
