# cluster/namespace/name
terraform import mesh_eastwest_gateway.east east/istio-system/istio-eastwestgateway
