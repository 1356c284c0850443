# Which clusters the istiods of east watch, whoever made the remote secrets.
list "mesh_remote_cluster" "from_east" {
  provider = mesh
  config {
    watcher = "east"
  }
}
