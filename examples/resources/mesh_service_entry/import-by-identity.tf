import {
  to = mesh_service_entry.cart
  identity = {
    cluster   = "east"
    namespace = "istio-system"
    name      = "cart-shop-svc-cluster-local"
  }
}
