# Clients in east call cart.shop.svc.cluster.local, which runs in another mesh.
resource "mesh_service_entry" "cart" {
  cluster = "east"
  host    = "cart.shop.svc.cluster.local"
  ports   = { http = { number = 8080 } }

  exporters = {
    west = {
      cluster          = "west"
      namespace        = "shop"
      service          = "cart"
      service_accounts = ["cart"]
      trust_domain     = "west.example"
      gateways         = mesh_eastwest_gateway.west.addresses
    }
  }
}
