# Every root in the provider's clusters: those that this provider keeps, and those whose intermediates somebody else put
# into `cacerts`.
list "mesh_ca" "all" {
  provider = mesh
}
