import {
  to = mesh_eastwest_gateway.east
  identity = {
    cluster   = "east"
    namespace = "istio-system"
    name      = "istio-eastwestgateway"
  }
}
