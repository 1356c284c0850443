# The first of the root modules of a mesh whose clusters each have a state of their own (see the folder `cluster`): the
# root of trust, and what all clusters must have alike. It is applied first and destroyed last.

variable "root_cluster" {
  description = "Cluster that keeps the root's key, the first by name if not set. Set it before you add or remove clusters: the root cannot move."
  type        = string
  default     = null
}

# An istiod reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod
# watches, and leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root = {
    store = {
      cluster              = var.root_cluster == null ? sort(keys(var.kubeconfigs))[0] : var.root_cluster
      readable_by_watchers = true
    }
  }
  clusters = { for name in keys(var.kubeconfigs) : name => {} }
}

# Nothing in it is secret: who can read it can read the state, which holds no key.
output "mesh" {
  description = "What every cluster of the mesh is given."
  value = {
    id         = "mesh1"
    clusters   = keys(var.kubeconfigs)
    trust_root = mesh_ca.this.root_fingerprint
    values     = [yamlencode({ meshConfig = { outboundTrafficPolicy = { mode = "ALLOW_ANY" } } })]
  }
}
