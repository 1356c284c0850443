terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

provider "mesh" {
  clusters = {
    admin = { config_path = "~/.kube/config", config_context = "admin" }
    east  = { config_path = "~/.kube/config", config_context = "east" }
    north = { config_path = "~/.kube/config", config_context = "north" }
    south = { config_path = "~/.kube/config", config_context = "south" }
    west  = { config_path = "~/.kube/config", config_context = "west" }
  }
}

resource "mesh_ca" "this" {
  # The root's key is generated in this cluster and never leaves it.
  root = { store = { cluster = "admin", namespace = "mesh-root-ca" } }

  # Each cluster gets an intermediate of its own.
  clusters = {
    east = {}
    west = {}
  }
}

# A root of your own. The key is used to sign and is not kept; raise the version when it changes.
resource "mesh_ca" "brought" {
  root = {
    certificate            = var.root_certificate
    private_key_wo         = var.root_private_key
    private_key_wo_version = 1
  }
  clusters = { north = {} }
}

variable "root_certificate" {
  description = "The root's certificate, PEM."
  type        = string
}

variable "root_private_key" {
  description = "Its key, PEM."
  type        = string
  ephemeral   = true
}
