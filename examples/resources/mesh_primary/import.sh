# cluster/namespace, or cluster/namespace/revision
terraform import mesh_primary.east east/istio-system
