# Three clusters, five networks. East and west share the network "backbone", and each has a second one: Pods labelled
# `topology.istio.io/network: net-east` (or net-west) are in that, all others in "backbone". North spans two networks by
# the addresses of its Pods alone. Each network of each cluster has a gateway; Pods of one network call each other
# directly, whatever cluster they are in.

variable "ranges" {
  description = "Networks that are told by their Pods' addresses, with the address range of each. No two may overlap."
  type        = map(string)
  default     = { net-north-a = "10.30.0.0/18", net-north-b = "10.30.64.0/18" }
}

locals {
  clusters = toset(["east", "north", "west"])

  # Network of the Pods that carry no label of their own. North has none: a label on its namespace would win over the
  # ranges.
  default_network = { east = "backbone", west = "backbone" }

  networks = {
    east  = ["backbone", "net-east"]
    north = keys(var.ranges)
    west  = ["backbone", "net-west"]
  }
  doors = merge([for cluster, networks in local.networks : {
    for network in networks : "${cluster}/${network}" => { cluster = cluster, network = network }
  }]...)
}

# An istiod reads the Secrets of the clusters it watches. Keep the root of your own mesh in a cluster that no istiod
# watches, and leave out `readable_by_watchers`, which accepts that this example has no such cluster.
resource "mesh_ca" "this" {
  root     = { store = { cluster = "east", readable_by_watchers = true } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each = local.clusters
  cluster  = each.key
  mesh_id  = "mesh1"
  network  = lookup(local.default_network, each.key, null)
  # Every istiod must know the ranges: it tells the networks of all clusters' Pods.
  mesh_networks = { for network, range in var.ranges : network => { endpoints = [{ from_cidr = range }] } }
  trust_root    = mesh_ca.this.root_fingerprint
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.doors
  cluster  = mesh_primary.this[each.value.cluster].cluster
  network  = each.value.network
  name     = "eastwest-${each.value.network}"
  expose   = { services = true }
}

resource "mesh_remote_cluster" "this" {
  for_each              = local.clusters
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]
  allow_loopback_server = var.one_machine
}

output "doors" {
  description = "Where each network is entered."
  value       = { for door, gateway in mesh_eastwest_gateway.this : door => gateway.addresses }
}
