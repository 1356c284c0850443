terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

# outbound_.8080_._.cart.shop.svc.cluster.local
output "sni" {
  value = provider::mesh::sni("cart.shop.svc.cluster.local", 8080)
}
