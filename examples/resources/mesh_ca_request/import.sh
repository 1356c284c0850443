# cluster/namespace/name of the Secret
terraform import mesh_ca_request.east east/istio-system/mesh-ca-request
