# Several control planes, one mesh, one network: Pods of all clusters reach each other directly, and every istiod watches every cluster.
# Needed beforehand: routes between the Pods of all clusters, and Pod address ranges that do not overlap.

locals { clusters = toset(keys(var.kubeconfigs)) }

# Every istiod reads the Secrets of the clusters it watches, so the root of a mesh of your own belongs into a cluster that none of them watches. These
# are all there is here: the last attribute accepts it, and is left out there.
resource "mesh_ca" "this" {
  root     = { store = { cluster = sort(local.clusters)[0], readable_by_watchers = true } }
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
