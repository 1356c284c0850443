# One control plane serves two clusters of one network. The remote cluster's proxies and API server reach istiod through
# the gateway that exposes it.

variable "primary" {
  description = "Name of the cluster with the control plane."
  type        = string
  default     = "primary"
}

variable "remotes" {
  description = "Clusters that are served, all others of `kubeconfigs` if not set. To remove one, take it out of this list, apply, then take it out of `kubeconfigs`."
  type        = set(string)
  default     = null
}

locals { remotes = var.remotes == null ? setsubtract(keys(var.kubeconfigs), [var.primary]) : var.remotes }

resource "mesh_ca" "this" {
  root     = { store = { cluster = var.primary } }
  clusters = { (var.primary) = {} }
}

resource "mesh_primary" "this" {
  cluster         = var.primary
  mesh_id         = "mesh1"
  network         = "net1"
  external_istiod = true
  trust_root      = mesh_ca.this.root_fingerprint
}

resource "mesh_eastwest_gateway" "control_plane" {
  cluster = mesh_primary.this.cluster
  network = mesh_primary.this.network
  expose  = { control_plane = true }
}

resource "mesh_remote_cluster" "this" {
  for_each              = local.remotes
  cluster               = each.key
  mode                  = "remote"
  network               = "net1"
  watchers              = [mesh_primary.this.cluster]
  control_plane         = mesh_primary.this.cluster_name
  control_plane_address = mesh_eastwest_gateway.control_plane.addresses[0].value
  allow_loopback_server = var.one_machine
}
