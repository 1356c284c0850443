# Two meshes that have nothing in common but a root of trust and the services that each exports to the other: no istiod
# watches the other cluster. An application calls a service of the other mesh by its own name.

locals {
  clusters      = toset(["east", "west"])
  trust_domains = { for name in local.clusters : name => "${name}.example" }

  # Who exports what to whom, and whom its Pods run as. One line more is one service more.
  exports = {
    cart   = { from = "west", to = "east", namespace = "shop", port = 8080, service_account = "cart" }
    orders = { from = "east", to = "west", namespace = "shop", port = 8080, service_account = "orders" }
  }
}

resource "mesh_ca" "this" {
  root     = { store = { cluster = "east" } }
  clusters = { for name in local.clusters : name => {} }
}

# Each trusts the identities of the other; and its proxies answer DNS for imported names, which no cluster's DNS knows.
resource "mesh_primary" "this" {
  for_each             = local.clusters
  cluster              = each.key
  mesh_id              = "mesh-${each.key}"
  network              = "net-${each.key}"
  trust_domain         = local.trust_domains[each.key]
  trust_domain_aliases = [for name, domain in local.trust_domains : domain if name != each.key]
  trust_root           = mesh_ca.this.root_fingerprint
  values               = [yamlencode({ meshConfig = { defaultConfig = { proxyMetadata = { ISTIO_META_DNS_CAPTURE = "true" } } } })]
}

# Only what is exported passes.
resource "mesh_eastwest_gateway" "this" {
  for_each = local.clusters
  cluster  = mesh_primary.this[each.key].cluster
  network  = mesh_primary.this[each.key].network
  expose = {
    services = true
    hosts    = [for name, service in local.exports : "${name}.${service.namespace}.svc.cluster.local" if service.from == each.key]
  }
}

resource "mesh_service_entry" "this" {
  for_each = local.exports
  cluster  = mesh_primary.this[each.value.to].cluster
  host     = "${each.key}.${each.value.namespace}.svc.cluster.local"
  ports    = { http = { number = each.value.port } }
  exporters = {
    (each.value.from) = {
      cluster          = each.value.from
      namespace        = each.value.namespace
      service          = each.key
      service_accounts = [each.value.service_account]
      trust_domain     = local.trust_domains[each.value.from]
      gateways         = mesh_eastwest_gateway.this[each.value.from].addresses
    }
  }
}

output "call" {
  description = "What an application of the importing mesh calls, by service."
  value       = { for name, entry in mesh_service_entry.this : name => entry.endpoints["http"] }
}

output "findings" {
  description = "What does not fit at the exporters, by service: a Service that is missing, a port that has changed. Empty when all is well."
  value       = { for name, entry in mesh_service_entry.this : name => entry.findings if length(entry.findings) > 0 }
}
