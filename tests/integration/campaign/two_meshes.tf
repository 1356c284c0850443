resource "mesh_primary" "this" {
  for_each             = var.members
  cluster              = each.key
  mesh_id              = "mesh-${each.key}"
  network              = "net-${each.key}"
  trust_domain         = "${each.key}.example"
  trust_domain_aliases = [for name in var.members : "${name}.example" if name != each.key]
  trust_root           = mesh_ca.this.root_fingerprint
  custom_hosts         = var.hosts ? ["istiod.example.com"] : null
  values               = local.values
  adopt                = var.adopt
}

locals {
  exports = {
    cart   = { from = "west", to = "east" }
    orders = { from = "east", to = "west" }
  }
  doors = var.gateways ? var.members : []
}

resource "mesh_eastwest_gateway" "this" {
  for_each = local.doors
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  service  = var.annotated ? { annotations = { changed = "yes" } } : null
  expose = {
    services = true
    hosts    = [for name, export in local.exports : "${name}.shop.svc.cluster.local" if export.from == each.key]
  }
  adopt = var.adopt
}

resource "mesh_service_entry" "this" {
  for_each = { for name, export in local.exports : name => export if var.links && var.gateways && length(var.members) > 1 }
  cluster  = mesh_primary.this[each.value.to].cluster
  host     = "${each.key}.shop.svc.cluster.local"
  ports    = { http = { number = var.exports ? 8081 : 8080 } }
  exporters = {
    (each.value.from) = {
      cluster          = each.value.from
      namespace        = "shop"
      service          = each.key
      service_accounts = [each.key]
      trust_domain     = "${each.value.from}.example"
      gateways         = mesh_eastwest_gateway.this[each.value.from].addresses
    }
  }
  adopt = var.adopt
}
