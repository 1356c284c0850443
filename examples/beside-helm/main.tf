# istiod belongs to somebody else: Helm, Argo CD, Flux or the Sail operator installs and upgrades it. Certificates,
# links and gateways are Terraform's. Neither writes what the other keeps: an upgrade of istiod is no change here, and a
# plan here touches no istiod.
#
# First `control_planes = false`: the apply makes the namespace and its `cacerts`, which an istiod should find when it
# starts. Then istiod is installed, with these values in each cluster:
#
#   global:
#     meshID: mesh1
#     multiCluster: { clusterName: east }
#     network: net-east
#
# and with the label `topology.istio.io/network: net-east` on the namespace. Then `control_planes = true`, as it stays.

variable "control_planes" {
  description = "Whether the istiods are there."
  type        = bool
  default     = true
}

locals {
  clusters = toset(keys(var.kubeconfigs))
  ready    = var.control_planes ? local.clusters : toset([])
}

# Every istiod reads the Secrets of the clusters it watches, so the root of a mesh of your own belongs into a cluster
# that none of them watches. These are all there is here: the last attribute accepts it, and is left out there.
resource "mesh_ca" "this" {
  root     = { store = { cluster = sort(local.clusters)[0], readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.ready
  cluster  = each.key
  network  = "net-${each.key}"
  expose   = { services = true }
  # A proxy must not be newer than its istiod: name the version here when istiod has been upgraded.
  charts     = var.gateway_charts
  depends_on = [mesh_ca.this]
}

resource "mesh_remote_cluster" "this" {
  for_each              = local.ready
  cluster               = each.key
  watchers              = [for name in local.ready : name if name != each.key]
  allow_loopback_server = var.one_machine
  depends_on            = [mesh_ca.this]
}

variable "gateway_charts" {
  description = "Which charts the gateways are made of; null for those of the provider block."
  type        = object({ repository = optional(string), directory = optional(string), version = optional(string) })
  default     = null
}
