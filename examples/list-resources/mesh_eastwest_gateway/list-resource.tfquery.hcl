# The doors of one network, in whichever cluster they are.
list "mesh_eastwest_gateway" "net_east" {
  provider = mesh
  config {
    network = "net-east"
  }
}
