terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" { type = map(string) }
variable "charts" { type = string }
variable "generation" { type = number }
variable "adopt" { type = bool }
variable "members" { type = set(string) }
variable "hosts" { type = bool }
variable "values" { type = bool }
variable "annotated" { type = bool }
variable "exports" { type = bool }
variable "gateways" { type = bool }
variable "links" { type = bool }

provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }
  charts   = { directory = var.charts }
}

locals {
  values = var.values ? [yamlencode({ autoscaleEnabled = false, global = { networkPolicy = { enabled = true } } })] : []
}

resource "mesh_ca" "this" {
  root           = { store = { cluster = "east", readable_by_watchers = true }, generation = var.generation }
  clusters       = { for name in var.members : name => {} }
  rotation_pause = "0s"
  adopt          = var.adopt
}

# A key in each cluster that nobody signs. Of two runs at once the one that makes the authority makes these as well.
resource "mesh_ca_request" "this" {
  for_each   = var.members
  cluster    = each.key
  generation = var.hosts ? 2 : 1
  adopt      = var.adopt
  depends_on = [mesh_ca.this]
}

output "phase" {
  value = mesh_ca.this.phase
}
