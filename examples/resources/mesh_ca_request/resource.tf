terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

locals {
  clusters = toset(["east", "west"])
}

provider "mesh" {
  clusters = {
    for name in local.clusters : name => { config_path = "~/.kube/config", config_context = name }
  }
}

# A key in each cluster, which never leaves it.
resource "mesh_ca_request" "each" {
  for_each = local.clusters
  cluster  = each.key
}

# Your signer, between the two: here a script, which gets the request as an environment variable and writes the chain to
# a file.
resource "terraform_data" "signed" {
  for_each         = local.clusters
  input            = "${path.module}/${each.key}.pem"
  triggers_replace = [mesh_ca_request.each[each.key].certificate_request]

  provisioner "local-exec" {
    command     = "./sign ${each.key}.pem"
    environment = { REQUEST = mesh_ca_request.each[each.key].certificate_request }
  }
}

resource "mesh_ca" "this" {
  root = { certificate = var.root_certificate }
  clusters = {
    for name, request in mesh_ca_request.each : name => {
      request           = request.name
      certificate_chain = file(terraform_data.signed[name].output)
    }
  }
}

variable "root_certificate" {
  description = "The root of your PKI, PEM."
  type        = string
}
