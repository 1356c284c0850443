import {
  to = mesh_primary.east
  identity = {
    cluster   = "east"
    namespace = "istio-system"
  }
}
