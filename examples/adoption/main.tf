# A mesh that helm, openssl and `istioctl create-remote-secret` made is taken over as it runs: the configuration says
# what is there, and `import` blocks find it. Of control planes and gateways the plan shows no object that changes, of
# certificates none that is reissued. The links get readers and tokens of their own. Afterwards the `import` blocks
# can go, and so can what helm and istioctl keep for themselves: the Secrets `sh.helm.release.v1.*`, and the endless
# token of `istio-reader-service-account`.

variable "root_certificate" {
  description = "The root that the mesh's intermediates chain to, PEM."
  type        = string
}

variable "root_private_key" {
  description = "Its key, PEM: used to sign, never kept. Without it the intermediates are signed outside."
  type        = string
  default     = null
  ephemeral   = true
}

locals { clusters = toset(["east", "west"]) }

resource "mesh_ca" "this" {
  root = {
    certificate            = var.root_certificate
    private_key_wo         = var.root_private_key
    private_key_wo_version = 1
  }
  clusters = { for name in local.clusters : name => {} }
  adopt    = true
}

resource "mesh_primary" "this" {
  for_each   = local.clusters
  cluster    = each.key
  mesh_id    = "mesh1"
  network    = "net-${each.key}"
  trust_root = mesh_ca.this.root_fingerprint
  adopt      = true
  # What helm was given with --set and --values, so far as no attribute stands for it.
  values = [yamlencode({ meshConfig = { accessLogFile = "/dev/stdout" } })]
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose   = { services = true }
  adopt    = true
}

# A reader with fewer rights takes the place of istioctl's, and tokens that end that of the one that does not.
resource "mesh_remote_cluster" "this" {
  for_each              = local.clusters
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  adopt                 = true
  allow_loopback_server = var.one_machine
}

import {
  to = mesh_ca.this
  id = "east/istio-system/cacerts"
}

import {
  for_each = local.clusters
  to       = mesh_primary.this[each.key]
  id       = "${each.key}/istio-system"
}

import {
  for_each = local.clusters
  to       = mesh_eastwest_gateway.this[each.key]
  id       = "${each.key}/istio-system/istio-eastwestgateway"
}

import {
  for_each = local.clusters
  to       = mesh_remote_cluster.this[each.key]
  id       = "${each.key}/istio-system/${each.key}"
}
