# Several control planes, one mesh, one network, and no certificate authority: every istiod signs by a root of its own,
# so that workloads of different clusters cannot verify each other. `mtls = "off"` lets them call each other in plain
# text, in all clusters alike. For networks that are trusted as they are; between networks no call crosses without mTLS.
# Needed beforehand: routes between the Pods of all clusters, and Pod address ranges that do not overlap.

locals { clusters = toset(keys(var.kubeconfigs)) }

resource "mesh_primary" "this" {
  for_each = local.clusters
  cluster  = each.key
  mesh_id  = "mesh1"
  network  = "net1"
  mtls     = "off"
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
