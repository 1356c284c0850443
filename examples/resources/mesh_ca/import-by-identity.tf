import {
  to = mesh_ca.this
  identity = {
    cluster   = "east"
    namespace = "mesh-root-ca"
    name      = "mesh-root-ca"
  }
}
