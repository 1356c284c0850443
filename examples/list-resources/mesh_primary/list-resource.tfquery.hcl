# Every control plane in every cluster of the provider, whoever installed it: `terraform query`.
list "mesh_primary" "all" {
  provider = mesh
}
