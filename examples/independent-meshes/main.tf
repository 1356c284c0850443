# Two meshes that know nothing of each other but a root of trust and one service: the shop's cart runs in west, and clients in east call it by
# its own name. No istiod watches the other cluster.

variable "importer" {
  description = "Cluster of the clients."
  type        = string
  default     = "east"
}

variable "exporter" {
  description = "Cluster that the service runs in."
  type        = string
  default     = "west"
}

locals {
  clusters      = toset([var.importer, var.exporter])
  trust_domains = { for name in local.clusters : name => "${name}.example" }
}

resource "mesh_ca" "this" {
  root     = { store = { cluster = var.importer } }
  clusters = { for name in local.clusters : name => {} }
}

resource "mesh_primary" "this" {
  for_each             = local.clusters
  cluster              = each.key
  mesh_id              = "mesh-${each.key}"
  network              = "net-${each.key}"
  trust_domain         = local.trust_domains[each.key]
  trust_domain_aliases = [for name, domain in local.trust_domains : domain if name != each.key]
  trust_root           = mesh_ca.this.root_fingerprint
}

# Only the exported service passes.
resource "mesh_eastwest_gateway" "exporter" {
  cluster = mesh_primary.this[var.exporter].cluster
  network = mesh_primary.this[var.exporter].network
  expose  = { services = true, hosts = ["cart.shop.svc.cluster.local"] }
}

resource "mesh_service_entry" "cart" {
  cluster = mesh_primary.this[var.importer].cluster
  host    = "cart.shop.svc.cluster.local"
  ports   = { http = { number = 8080 } }
  exporters = {
    (var.exporter) = {
      cluster          = mesh_primary.this[var.exporter].cluster
      namespace        = "shop"
      service          = "cart"
      service_accounts = ["cart"]
      trust_domain     = local.trust_domains[var.exporter]
      gateways         = mesh_eastwest_gateway.exporter.addresses
    }
  }
}

output "call" {
  description = "What an application in the importing cluster calls."
  value       = mesh_service_entry.cart.endpoints["http"]
}

output "sni" {
  value = mesh_service_entry.cart.sni["http"]
}
