import {
  to = mesh_ca_request.east
  identity = {
    cluster   = "east"
    namespace = "istio-system"
    name      = "mesh-ca-request"
  }
}
