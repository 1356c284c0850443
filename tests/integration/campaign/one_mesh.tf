resource "mesh_primary" "this" {
  for_each     = var.members
  cluster      = each.key
  mesh_id      = "mesh1"
  network      = "net-${each.key}"
  trust_root   = mesh_ca.this.root_fingerprint
  custom_hosts = var.hosts ? ["istiod.example.com"] : null
  values       = local.values
  adopt        = var.adopt
}

resource "mesh_eastwest_gateway" "this" {
  for_each = var.gateways ? var.members : []
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose   = { services = true }
  service  = var.annotated ? { annotations = { changed = "yes" } } : null
  adopt    = var.adopt
}

resource "mesh_remote_cluster" "this" {
  for_each              = var.links && length(var.members) > 1 ? var.members : []
  cluster               = mesh_primary.this[each.key].cluster
  watchers              = [for name in var.members : mesh_primary.this[name].cluster if name != each.key]
  export_services       = var.exports
  allow_loopback_server = true
  adopt                 = var.adopt
}
