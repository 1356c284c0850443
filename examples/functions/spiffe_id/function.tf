terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

# spiffe://cluster.local/ns/shop/sa/cart
output "identity" {
  value = provider::mesh::spiffe_id("cluster.local", "shop", "cart")
}
