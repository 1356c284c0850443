# Every control plane in every cluster of the provider, whoever installed it: `terraform query`.
list "mesh_primary" "all" {
  provider = mesh
}

# The control planes of east that Helm or istioctl installed, whole: what an import would bring into state.
list "mesh_primary" "others" {
  provider         = mesh
  include_resource = true
  config {
    cluster = "east"
    managed = false
  }
}
