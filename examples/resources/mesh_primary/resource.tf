resource "mesh_primary" "east" {
  cluster    = "east"
  mesh_id    = "mesh1"
  network    = "net-east"
  trust_root = mesh_ca.this.root_fingerprint

  # Anything the charts know, as for `helm --values`.
  values = [yamlencode({
    pilot = { autoscaleMin = 2 }
  })]
}
