# Several control planes, one mesh, one network: Pods of all clusters reach each other directly, and every istiod
# watches every cluster. Needed beforehand: routes between the Pods of all clusters, and Pod address ranges that do not
# overlap.

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
# watches: name it in `root_cluster` and leave it out of `clusters`. Then remove `readable_by_watchers`, which accepts
# that this example has no such cluster.
resource "mesh_ca" "this" {
  root     = { store = { cluster = local.root_cluster, readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
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

output "sync" {
  value = { for name, remote in mesh_remote_cluster.this : name => { for watcher, sync in remote.sync : watcher => sync.verdict } }
}
