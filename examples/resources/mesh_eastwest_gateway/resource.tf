terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

provider "mesh" {
  clusters = {
    east = { config_path = "~/.kube/config", config_context = "east" }
  }
}

resource "mesh_primary" "east" {
  cluster = "east"
  mesh_id = "mesh1"
  network = "net-east"
}

resource "mesh_eastwest_gateway" "east" {
  cluster = mesh_primary.east.cluster
  network = mesh_primary.east.network

  # Only these Services can be called from other networks; leave `hosts` out to expose all.
  expose = {
    services = true
    hosts    = ["cart.shop.svc.cluster.local"]
  }

  service = {
    annotations = { "service.beta.kubernetes.io/aws-load-balancer-type" = "nlb" }
  }
}
