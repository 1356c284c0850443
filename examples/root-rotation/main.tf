# The root of a running mesh is replaced, and no connection breaks. Raise `root_generation` by one, then plan and apply until the plan is empty:
# three times, each of which says which step it takes (`phase`).

variable "root_generation" {
  description = "Counts the roots up."
  type        = number
  default     = 1
}

variable "rotation_pause" {
  description = "How long old certificates are given to go out of use before the next step."
  type        = string
  default     = "24h"
}

locals { clusters = toset(keys(var.kubeconfigs)) }

resource "mesh_ca" "this" {
  root           = { store = { cluster = sort(local.clusters)[0] }, generation = var.root_generation }
  clusters       = { for name in local.clusters : name => {} }
  rotation_pause = var.rotation_pause
}

resource "mesh_primary" "this" {
  for_each   = local.clusters
  cluster    = each.key
  mesh_id    = "mesh1"
  network    = "net1"
  trust_root = mesh_ca.this.root_fingerprint

  # Needed from the start: without the first, istiod refuses a second root; without the second, proxies learn of it a day later.
  values = [yamlencode({
    pilot      = { env = { ISTIO_MULTIROOT_MESH = "true" } }
    meshConfig = { defaultConfig = { proxyMetadata = { PROXY_CONFIG_XDS_AGENT = "true" } } }
  })]
}

resource "mesh_remote_cluster" "this" {
  for_each              = local.clusters
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}

output "phase" {
  description = "Where the rotation stands: `settled` when there is none."
  value       = mesh_ca.this.phase
}

output "root" {
  value = mesh_ca.this.root_fingerprint
}
