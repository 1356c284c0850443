resource "mesh_ca" "this" {
  # The root's key is generated in this cluster and never leaves it.
  root = { store = { cluster = "admin", namespace = "mesh-root-ca" } }

  # Each cluster gets an intermediate of its own.
  clusters = {
    east = {}
    west = {}
  }
}

# A root of your own. The key is used once and not kept; raise the version when it changes.
resource "mesh_ca" "brought" {
  root = {
    certificate            = file("root-cert.pem")
    private_key_wo         = file("root-key.pem")
    private_key_wo_version = 1
  }
  clusters = { north = {} }
}
