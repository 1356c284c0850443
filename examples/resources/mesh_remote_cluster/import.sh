# cluster/namespace/cluster_name; also what istioctl create-remote-secret made
terraform import mesh_remote_cluster.east east/istio-system/east
