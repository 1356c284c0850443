# The control plane runs in a cluster of its own, apart from the workloads: it reads its configuration from one of the
# clusters it serves, and serves the others as remotes. Nothing of the mesh but istiod is in its cluster, where it has
# no rights.

variable "hub" {
  description = "Name of the cluster that runs the control plane."
  type        = string
  default     = "hub"
}

variable "config" {
  description = "Name of the cluster with the mesh's configuration: custom resources count there."
  type        = string
  default     = "east"
}

variable "remotes" {
  description = "Clusters that are served, all others of `kubeconfigs` if not set. To remove one, take it out of this list, apply, then take it out of `kubeconfigs`."
  type        = set(string)
  default     = null
}

locals { remotes = var.remotes == null ? setsubtract(keys(var.kubeconfigs), [var.hub, var.config]) : var.remotes }

resource "mesh_ca" "this" {
  root     = { store = { cluster = var.hub } }
  clusters = { (var.hub) = {} }
}

resource "mesh_primary" "this" {
  cluster        = var.hub
  config_cluster = var.config
  mesh_id        = "mesh1"
  network        = "net1"
  expose         = {}
  trust_root     = mesh_ca.this.root_fingerprint
}

resource "mesh_remote_cluster" "config" {
  cluster               = var.config
  mode                  = "config"
  network               = mesh_primary.this.network
  watchers              = [mesh_primary.this.cluster]
  control_plane_address = mesh_primary.this.addresses[0].value
  allow_loopback_server = var.one_machine
}

resource "mesh_remote_cluster" "remote" {
  for_each              = local.remotes
  cluster               = each.key
  mode                  = "remote"
  network               = mesh_primary.this.network
  watchers              = [mesh_primary.this.cluster]
  control_plane         = mesh_primary.this.cluster_name
  control_plane_address = mesh_primary.this.addresses[0].value
  config_cluster        = mesh_remote_cluster.config.cluster
  allow_loopback_server = var.one_machine
}
