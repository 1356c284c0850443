# The root of a running mesh is replaced, and no connection breaks. Raise `root_generation` by one, then plan and apply
# until the output `phase` is `settled`: three applies, with `rotation_pause` between them. Each plan says which step it
# takes.

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

variable "clusters" {
  description = "Clusters of the mesh, all of `kubeconfigs` if not set. To remove one, take it out of this list, apply, then take it out of `kubeconfigs`."
  type        = set(string)
  default     = null
}

variable "root_cluster" {
  description = "Cluster that keeps the root's key, the first by name if not set. Set it before you add or remove clusters: the root cannot move."
  type        = string
  default     = null
}

locals {
  clusters     = var.clusters == null ? toset(keys(var.kubeconfigs)) : var.clusters
  root_cluster = var.root_cluster == null ? sort(keys(var.kubeconfigs))[0] : var.root_cluster
}

# An istiod reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod
# watches, and leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root           = { store = { cluster = local.root_cluster, readable_by_watchers = true }, generation = var.root_generation }
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
  description = "The phase of the rotation: `settled` when there is none."
  value       = mesh_ca.this.phase
}

output "root" {
  value = mesh_ca.this.root_fingerprint
}
