data "mesh_status" "this" {}

# A plan that tells what is wrong with the mesh, without stopping.
check "mesh" {
  assert {
    condition     = data.mesh_status.this.healthy
    error_message = join("\n", data.mesh_status.this.findings)
  }
}
