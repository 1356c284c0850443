# Istio is upgraded beside itself. In each cluster the new version runs as a second revision; workloads go over with a
# tag, which their namespaces name (`istio.io/rev=prod`), as they restart; then the old version leaves. Three plans:
#   1. add the new version to `revisions`
#   2. set `live` to it: the tag and the gateways move
#   3. take the old version out of `revisions`

variable "revisions" {
  description = "Versions of Istio that run in each cluster, by revision."
  type        = map(string)
  default     = { "1-30" = "1.30.0" }
}

variable "live" {
  description = "The revision that the tag `prod` stands for."
  type        = string
  default     = "1-30"
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
  newest       = element(reverse(sort(keys(var.revisions))), 0)
  control_planes = merge([for cluster in local.clusters : {
    for revision, version in var.revisions : "${cluster}/${revision}" => { cluster = cluster, revision = revision, version = version }
  }]...)
}

# An istiod reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod
# watches, and leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root     = { store = { cluster = local.root_cluster, readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each      = local.control_planes
  cluster       = each.value.cluster
  mesh_id       = "mesh1"
  network       = "net-${each.value.cluster}"
  revision      = each.value.revision
  istio_version = each.value.version
  tags          = each.value.revision == var.live ? ["prod"] : []
  # CustomResourceDefinitions go first: those of a newer version serve an older istiod, not the other way round.
  install_base = each.value.revision == local.newest
  trust_root   = mesh_ca.this.root_fingerprint
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this["${each.key}/${var.live}"].cluster
  network  = mesh_primary.this["${each.key}/${var.live}"].network
  revision = var.live
  charts   = { version = var.revisions[var.live] }
  expose   = { services = true }
}

# One secret serves all revisions of a watcher.
resource "mesh_remote_cluster" "this" {
  for_each              = local.clusters
  cluster               = mesh_primary.this["${each.key}/${var.live}"].cluster
  watchers              = [for name in local.clusters : mesh_primary.this["${name}/${var.live}"].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}

output "control_planes" {
  value = { for name, primary in mesh_primary.this : name => primary.status.image }
}
