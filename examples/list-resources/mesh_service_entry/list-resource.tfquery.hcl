# The services of other meshes that east imports.
list "mesh_service_entry" "east" {
  provider = mesh
  config {
    cluster = "east"
  }
}
