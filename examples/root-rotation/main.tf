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

# Every istiod reads the Secrets of the clusters it watches, so the root of a mesh of your own belongs into a cluster that none of them watches. These
# are all there is here: the last attribute accepts it, and is left out there.
resource "mesh_ca" "this" {
  root           = { store = { cluster = sort(local.clusters)[0], readable_by_watchers = true }, generation = var.root_generation }
  clusters       = { for name in local.clusters : name => {} }
  rotation_pause = var.rotation_pause
}

resource "mesh_primary" "this" {
  for_each   = local.clusters
  cluster    = each.key
  mesh_id    = "mesh1"
  network    = "net1"
  trust_root = mesh_ca.this.root_fingerprint
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
