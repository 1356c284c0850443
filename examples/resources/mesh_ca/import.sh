# cluster/namespace/name of the Secret that keeps the root
terraform import mesh_ca.this east/mesh-root-ca/mesh-root-ca
