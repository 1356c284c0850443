# The requests for intermediates in east.
list "mesh_ca_request" "east" {
  provider = mesh
  config {
    cluster = "east"
  }
}
