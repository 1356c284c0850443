# A fleet that is upgraded one wave after the other. Raise `istio_version`, then plan and apply until a plan is empty:
# each plan upgrades one wave, and says what the others wait for. A wave that fails is the end of it: those
# behind it stay where they are until it is mended, or `istio_version` is set back.

variable "istio_version" {
  description = "Version of Istio that the fleet is to run."
  type        = string
}

variable "updated_proxies_percent" {
  description = "Share of a wave's proxies, in percent, that must run the new version before the next wave begins. None, if not set: proxies change when their Pods restart."
  type        = number
  default     = null
}

locals {
  # Each line waits for the one above it.
  waves = [
    ["east"],
    ["north"],
    ["west"],
  ]
  clusters = toset(flatten(local.waves))
  after    = merge([for i, wave in local.waves : { for name in wave : name => local.waves[max(i - 1, 0)] if i > 0 }]...)
}

# Every istiod reads the Secrets of the clusters it watches, so the root of a mesh of your own belongs into a cluster
# that none of them watches. These are all there is here: the last attribute accepts it, and is left out there.
resource "mesh_ca" "this" {
  root     = { store = { cluster = sort(local.clusters)[0], readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each      = local.clusters
  cluster       = each.key
  mesh_id       = "mesh1"
  istio_version = var.istio_version
  trust_root    = mesh_ca.this.root_fingerprint

  rollout = contains(keys(local.after), each.key) ? {
    after                   = local.after[each.key]
    updated_proxies_percent = var.updated_proxies_percent
  } : null
}

resource "mesh_remote_cluster" "this" {
  for_each              = local.clusters
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}
