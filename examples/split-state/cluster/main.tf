# One cluster of a mesh, in a state of its own: its control plane, its gateway, and the link by which the others watch
# it. Each cluster has this root module once, in whatever order; `trust` comes before all of them. A cluster needs few
# rights in the others: it keeps a remote secret there, and asks istiod about it.

variable "cluster" {
  description = "Name of this cluster, a key of `kubeconfigs`."
  type        = string
}

variable "trust_state" {
  description = "File with the state of the root module `trust`. Use the backend of your own in its place."
  type        = string
}

data "terraform_remote_state" "trust" {
  backend = "local"
  config  = { path = var.trust_state }
}

locals {
  mesh  = data.terraform_remote_state.trust.outputs.mesh
  peers = setsubtract(local.mesh.clusters, [var.cluster])
}

# It waits until istiod hands out this root: that cluster and mesh agree is seen in the cluster, whichever state made it
# so.
resource "mesh_primary" "this" {
  cluster    = var.cluster
  mesh_id    = local.mesh.id
  network    = "net-${var.cluster}"
  trust_root = local.mesh.trust_root
  values     = local.mesh.values
}

resource "mesh_eastwest_gateway" "this" {
  cluster = mesh_primary.this.cluster
  network = mesh_primary.this.network
  expose  = { services = true }
}

# Not waited for: the istiod of a peer may be still to come. The check below says when it is in sync.
resource "mesh_remote_cluster" "this" {
  cluster               = mesh_primary.this.cluster
  watchers              = local.peers
  wait                  = false
  allow_loopback_server = var.one_machine
}

# No plan of one state knows what another configures. This looks at the clusters themselves: links back, roots,
# gateways, mesh configurations and rules that are not the same everywhere.
data "mesh_status" "all" {
  clusters = local.mesh.clusters
  # After an apply of this state, and not before it.
  depends_on = [mesh_eastwest_gateway.this, mesh_remote_cluster.this]
}

check "mesh" {
  assert {
    condition     = data.mesh_status.all.healthy
    error_message = join("\n", data.mesh_status.all.findings)
  }
}
