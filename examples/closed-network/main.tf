# A mesh in a network without a way out: charts come from a mirror, by digest and with a login, and images from a
# registry of yours. Terraform reaches the mirror and the API servers and nothing else. Kubelets reach the registry.
#
# Each namespace whose Pods pull Istio's images has the Secrets of `images.pull_secrets` before they start:
# istio-system, and those of your workloads. Make them with what else guards your registry; the provider makes none.

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
  root     = { store = { cluster = local.root_cluster, readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each   = local.clusters
  cluster    = each.key
  mesh_id    = "mesh1"
  network    = "net-${each.key}"
  trust_root = mesh_ca.this.root_fingerprint
  images     = var.images
}

# Its image, and the Secrets by which it is pulled, are those that the control plane injects.
resource "mesh_eastwest_gateway" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose   = { services = true }
}

# Links, as soon as there are several clusters.
resource "mesh_remote_cluster" "this" {
  for_each              = length(local.clusters) > 1 ? local.clusters : toset([])
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}

output "gateways" {
  value = { for name, gateway in mesh_eastwest_gateway.this : name => gateway.addresses }
}
