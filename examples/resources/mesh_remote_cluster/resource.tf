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

resource "mesh_primary" "east" {
  cluster = "east"
  mesh_id = "mesh1"
}

resource "mesh_primary" "west" {
  cluster = "west"
  mesh_id = "mesh1"
}

# The istiod of west watches east.
resource "mesh_remote_cluster" "east" {
  cluster  = mesh_primary.east.cluster
  watchers = [mesh_primary.west.cluster]

  # As west's istiod reaches it, where that is not the address in the provider's configuration.
  server = "https://east.example.com:6443"

  token = { lifetime = "30d", rotate_before = "10d" }
}
