# A control plane in each region, and clusters of its zones that it serves: what Istio recommends for many clusters. A
# region is one network, whose Pods call each other directly; calls to another region go through its gateway. A region
# that is lost takes no other along, and a zone has no control plane to keep.

variable "regions" {
  description = "By region: the cluster with its control plane, and those of its zones without one. All of them are in `kubeconfigs`."
  type        = map(object({ primary = string, zones = optional(set(string), []) }))
}

variable "root_cluster" {
  description = "Cluster that keeps the root's key, the first primary by name if not set. Set it before you add or remove regions: the root cannot move."
  type        = string
  default     = null
}

locals {
  primaries    = toset([for region in var.regions : region.primary])
  root_cluster = var.root_cluster == null ? sort(local.primaries)[0] : var.root_cluster
  region_of    = { for name, region in var.regions : region.primary => name }
  zones        = merge([for name, region in var.regions : { for zone in region.zones : zone => name }]...)

  # What is meant for the whole mesh is said once: each istiod configures its own proxies alone.
  mesh_config = yamlencode({
    meshConfig = {
      localityLbSetting = { failoverPriority = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"] }
    }
  })
}

# An istiod reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod
# watches, and leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root     = { store = { cluster = local.root_cluster, readable_by_watchers = true } }
  clusters = { for name in local.primaries : name => {} }
}

resource "mesh_primary" "this" {
  for_each        = local.primaries
  cluster         = each.key
  mesh_id         = "mesh1"
  network         = local.region_of[each.key]
  external_istiod = true
  trust_root      = mesh_ca.this.root_fingerprint
  values          = [local.mesh_config]
}

# The door of the region, and the way from its zones to their control plane.
resource "mesh_eastwest_gateway" "this" {
  for_each = local.primaries
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose   = { services = true, control_plane = true }
}

resource "mesh_remote_cluster" "primary" {
  for_each              = local.primaries
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.primaries : mesh_primary.this[name].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}

# All control planes watch a zone, so that every region can call it; that of its own region serves it.
resource "mesh_remote_cluster" "zone" {
  for_each              = local.zones
  cluster               = each.key
  mode                  = "remote"
  network               = each.value
  watchers              = [for name in local.primaries : mesh_primary.this[name].cluster]
  control_plane         = mesh_primary.this[var.regions[each.value].primary].cluster_name
  control_plane_address = mesh_eastwest_gateway.this[var.regions[each.value].primary].addresses[0].value
  allow_loopback_server = var.one_machine
}
