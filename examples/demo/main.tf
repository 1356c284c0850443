# Two empty clusters become one mesh over two networks, with one apply. `make demo` runs this file.

terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" {
  description = "Kubeconfig file of each cluster, by the cluster's name."
  type        = map(string)
}

variable "charts" {
  description = "Where Istio's charts come from."
  type        = object({ repository = optional(string), directory = optional(string) })
}

provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }
  charts   = var.charts
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

# One root of trust. Its key stays in the cluster that `root.store` names; state holds fingerprints only. An istiod
# reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod watches, and
# leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root     = { store = { cluster = local.root_cluster, readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each   = local.clusters
  cluster    = each.key
  mesh_id    = "demo"
  network    = "net-${each.key}"
  trust_root = mesh_ca.this.root_fingerprint
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose   = { services = true }
}

resource "mesh_remote_cluster" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this[each.key].cluster
  watchers = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  # The demo's API servers listen on this machine only. Leave it out everywhere else.
  allow_loopback_server = true
}

output "watched_by" {
  description = "For each cluster, what the istiods that watch it say."
  value       = { for name, cluster in mesh_remote_cluster.this : name => { for by, sync in cluster.sync : by => sync.verdict } }
}

output "gateways" {
  description = "Where each network is entered."
  value       = { for name, gateway in mesh_eastwest_gateway.this : gateway.network => [for a in gateway.addresses : "${a.value}:${a.port}"] }
}

output "root" {
  description = "Fingerprint of the root that both clusters trust."
  value       = mesh_ca.this.root_fingerprint
}
